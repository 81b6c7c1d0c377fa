#define SPIKEFLIP_TABLE kAvx2
#include "kernels.inc"
