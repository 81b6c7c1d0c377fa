#define SPIKEFLIP_TABLE kPortable
#include "kernels.inc"
