/* event_file.h: TensorBoard's event files: records of a length, its check sum, a message, its
 * check sum (TFRecord), one scalar a record. Not for: which figures go into which file.
 *
 * A file is only ever appended to. Opening one that exists reads what it holds, so that no point
 * is written twice, and cuts off a record that a crash left half written. */
#ifndef CAI_PROTO_EVENT_FILE_H
#define CAI_PROTO_EVENT_FILE_H

#include <stdbool.h>
#include <stdint.h>

struct event_file;

/* Makes the folder and the file where they are missing. CAI_EINPUT when the file is none of ours. */
int event_file_open(const char *folder, struct event_file **ret);
/* Adds a point unless the file has one of this tag and step. `wall_s`: seconds since 1970. */
int event_file_add(struct event_file *f, const char *tag, int64_t step, double value,
                   double wall_s);
/* Hands all that was added to the kernel. */
int event_file_flush(struct event_file *f);
int64_t event_file_points(const struct event_file *f); /* those that were there, too */
void event_file_close(struct event_file *f);
static inline void cai_event_file_auto(struct event_file **f) { event_file_close(*f); }

#endif
