/* front.h: this room as whoever starts caid hands it to the loop (run_options.front). */
#ifndef CAI_CONTROL_FRONT_H
#define CAI_CONTROL_FRONT_H

struct run_front;
extern const struct run_front control_front;

#endif
