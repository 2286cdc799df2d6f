/* cuda.c: a libcuda.so.1 for tests, as far as the product looks for a driver: it has one device. */
int cuInit(unsigned flags);
int cuInit(unsigned flags) {
    (void)flags;
    return 0;
}

int cuDeviceGetCount(int *n);
int cuDeviceGetCount(int *n) {
    *n = 1;
    return 0;
}
