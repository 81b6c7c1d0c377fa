#define SPIKEFLIP_TABLE kAvx512
#include "kernels.inc"
