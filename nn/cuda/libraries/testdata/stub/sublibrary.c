// A library that libcudnn.so.9 opens by name; SUBLIBRARY names it.
int SUBLIBRARY(void) { return 9; }
