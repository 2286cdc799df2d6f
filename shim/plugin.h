/* plugin.h: the shared modules that a program opens at run time, because what they link
 * (another Gloo, CUDA) must not be, or need not be, where the program runs. Private to the
 * shim. */
#ifndef CAI_SHIM_PLUGIN_H
#define CAI_SHIM_PLUGIN_H

/* dlopen(file, flags): a build tree has it in shim/ of a folder above the program, an
 * installation in CAI_PLUGIN_DIR. CAI_ENOTFOUND with the loader's words. It is never closed:
 * its threads may still be leaving its code. */
int plugin_open(const char *file, int flags, void **ret);

#endif
