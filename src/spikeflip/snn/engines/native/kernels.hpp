// Event-driven layers: only spikes and non-zero gradients are multiplied.
//
// All maps are channels-last, (sample, time step, pixel, channel), contiguous. Weights are (tap, in, out) with `out`
// padded to whole vectors. Every output is the sum over its taps and active inputs in one fixed order, so it does not
// depend on other samples, on the batch or on the number of threads.
#pragma once

#include <cstddef>
#include <cstdint>

namespace spikeflip {

// Floats in a vector; weights and blocks are padded to whole ones.
constexpr int kVector = 16;

// Taps of the largest kernel, 7 x 7.
constexpr int kMostTaps = 49;

enum Reset : int { kHard = 0, kSoft = 1, kNone = 2 };

struct Neuron {
  float threshold;
  float decay;
  int reset;
  float centre;       // of the surrogate window
  float half_width;   // of the surrogate window
  float height;       // of the surrogate derivative inside it
};

// A convolution with a square kernel, stride 1, from `in` to `out` maps of height x width.
struct Conv {
  int height, width, in, out, out_padded, kernel, padding;
};

// Average pooling of `size` x `size` pixels; what is left over at the border is dropped.
struct Pool {
  int height, width, channels, size;
  int rows() const { return height / size; }
  int columns() const { return width / size; }
};

// Compressed lists of active channels: those of frame f and pixel p are entries offsets[f * pixels + p] to
// offsets[f * pixels + p + 1] - 1 of `channels` (and of `values`, for gradients).
struct Active {
  const int64_t* offsets;
  const uint32_t* channels;
  const float* values;
};

// The functions of one instruction set.
struct Kernels {
  // Lists the non-zero entries of (count, channels) bytes or floats. Two passes: counts, then entries.
  void (*count_bytes)(const uint8_t* spikes, int64_t rows, int channels, int64_t* counts);
  void (*list_bytes)(const uint8_t* spikes, int64_t rows, int channels, const int64_t* offsets, uint32_t* listed);
  void (*count_floats)(const float* values, int64_t rows, int channels, int64_t* counts);
  void (*list_floats)(const float* values, int64_t rows, int channels, const int64_t* offsets, uint32_t* listed,
                      float* listed_values);

  // Rows `first` to `last` - 1 of one sample's output: convolution, then neurons over all time steps.
  // `input.offsets` starts at the sample's first frame.
  void (*conv_forward)(const Conv& conv, const Neuron& neuron, int steps, const Active& input, const float* weights,
                       float* potentials, uint8_t* spikes, int first, int last);

  // Rows `first` to `last` - 1 of one sample's input gradient. With `potentials` of the layer below, its neurons are
  // run in reverse as well, and pixels whose neurons are outside the window at a time step are skipped there.
  void (*conv_backward)(const Conv& conv, const Neuron& neuron, int steps, const Active& gradient,
                        const float* weights, const float* potentials, float* result, int first, int last);

  // The same for average pooling: output rows forward, input rows in reverse.
  void (*pool_forward)(const Pool& pool, const Neuron& neuron, int steps, const uint8_t* input, float* potentials,
                       uint8_t* spikes, int first, int last);
  void (*pool_backward)(const Pool& pool, const Neuron& neuron, int steps, const float* gradient,
                        const float* potentials, float* result, int first, int last);

  // One block of kVector * `vectors` outputs of a fully-connected layer for all frames: for each input, the frames in
  // which it is active. `result` is (frames, outputs).
  void (*linear)(int64_t inputs, int64_t outputs, int64_t outputs_padded, const Active& by_input,
                 const float* weights, float* result, int64_t first_output, int64_t last_output, int64_t frames,
                 float* scratch);

  // Adds to one tap's weight gradient, (in, out_padded), from one sample: inputs times the dense gradient of the output,
  // for output channels `first` to `last` - 1, a multiple of kVector apart.
  void (*conv_weights)(const Conv& conv, int steps, const Active& input, const float* gradient, int tap, int first,
                       int last, float* result);
  // The same for fully-connected layers, for inputs `first_input` to `last_input` - 1.
  void (*linear_weights)(int64_t outputs, int64_t outputs_padded, const Active& by_input, const float* gradient,
                         int64_t first_input, int64_t last_input, float* result);

  // Neurons of `width` channels over all time steps of one sample; frames are `stride` apart.
  void (*neurons_forward)(const Neuron& neuron, int steps, int64_t stride, int64_t width, const float* currents,
                          float* potentials, uint8_t* spikes);
  void (*neurons_backward)(const Neuron& neuron, int steps, int64_t stride, int64_t width, const float* potentials,
                           float* gradient);
};

extern const Kernels kPortable;
#if defined(SPIKEFLIP_X86)
extern const Kernels kAvx2;
extern const Kernels kAvx512;
#endif

}  // namespace spikeflip
