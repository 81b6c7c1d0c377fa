// Event-driven layers: only spikes and non-zero gradients are multiplied.
//
// Maps are channels-last, (time step, pixel, channel), with the channels padded to whole vectors; a "word" holds one bit
// for each channel of a vector. Weights are (tap, in, out) with `out` padded. Every output is the sum over its taps and
// active inputs in one fixed order, so it does not depend on other samples, on the batch or on the number of threads.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace spikeflip {

// Floats in a vector.
constexpr int kVector = 16;

// Rows of the largest kernel.
constexpr int kMostRows = 7;

// Vectors of outputs that a fully-connected layer computes at once.
constexpr int kLinearVectors = 4;

inline int64_t words_of(int64_t channels) { return (channels + kVector - 1) / kVector; }
inline int64_t padded(int64_t channels) { return words_of(channels) * kVector; }

enum Reset : int { kHard = 0, kSoft = 1, kNone = 2 };

struct Neuron {
  float threshold;
  float decay;
  int reset;
  float centre;      // of the surrogate window
  float half_width;  // of the surrogate window
  float height;      // of the surrogate derivative inside it
};

struct Maps {
  int height, width, channels;
  int64_t pixels() const { return static_cast<int64_t>(height) * width; }
  int words() const { return static_cast<int>(words_of(channels)); }
  int padded() const { return words() * kVector; }
  // The bits of word `w` that stand for channels. Those of the padding may be set: by a threshold so small that it is 0,
  // or by a gradient that is not finite.
  uint32_t used(int w) const { return 0xffffu >> std::max(0, (w + 1) * kVector - channels); }
};

// A convolution with a square kernel and stride 1, between maps of the same size.
struct Conv {
  Maps in, out;
  int kernel, padding;
};

// Average pooling of `size` x `size` pixels; what is left over at the border is dropped.
struct Pool {
  Maps in, out;
  int size;
};

// What a layer of neurons leaves for its reverse: which fired, which were inside the surrogate window, and the
// potentials, written only in vectors of which at least one neuron was inside.
struct State {
  float* potentials;
  uint16_t* inside;
  uint16_t* fired;
};

// The neurons below a layer in reverse: their state, and what dropout did to their spikes.
struct Below {
  State state;
  const uint16_t* kept;  // (pixel, word); null: all
  float scale;
};

// A gradient: its values, and which of them are not zero. Vectors that are all zero are not written.
struct Gradient {
  float* values;
  uint16_t* filled;
};

// Memory that is kept from call to call and grows as needed; its contents are lost when it does.
template <typename T>
class Buffer {
 public:
  T* get(size_t size) {
    if (size > size_) {
      data_.reset(new T[size]);
      size_ = size;
    }
    return data_.get();
  }

 private:
  std::unique_ptr<T[]> data_;
  size_t size_ = 0;
};

// Compressed lists: the active channels of frame f and pixel p are entries offsets[f * pixels + p] to
// offsets[f * pixels + p + 1] - 1. A place is where an input's row of weights lies: (column * channels + channel) rows
// on, so that one number serves all output pixels of a map row. `values` are those of a gradient.
struct Active {
  std::vector<int32_t> offsets;
  std::vector<uint32_t> places;
  std::vector<float> values;
};

// The active inputs of a fully-connected layer over some frames, in ascending order: input inputs[k] is active in the
// frames (counted from the first of them) frames[offsets[k]] to frames[offsets[k + 1] - 1], with `values`, or null for
// spikes.
struct ByInput {
  int64_t count;
  const uint32_t* inputs;
  const uint32_t* offsets;
  const uint32_t* frames;
  const float* values;
};

// One pixel's neurons over all steps, run again because their input changed at some.
struct Again {
  const uint64_t* changed;  // a bit a step: those whose current is summed again
  float* currents;          // (step, channel): of the other steps, they are believed
  bool keep;                // whether to write the changed currents
  uint16_t* fired;          // (step, word): the result
};

// Where the weights of a pixel's active inputs start: for the i-th changed step, rows[ends[i - 1]] to rows[ends[i] - 1].
struct Places {
  std::vector<int64_t> rows;
  std::vector<size_t> ends;
};

// A tensor (sample, step, neuron) whose neurons lie in one piece: floats from one sample and from one step to the next.
struct Sequence {
  float* values;
  int64_t sample, step;
  Sequence of(int64_t n) const { return {values + n * sample, sample, step}; }
};

// The functions of one instruction set. `first` and `last` bound the rows of the result that a call computes.
struct Kernels {
  // The bits that are set.
  int64_t (*count)(const uint16_t* words, int64_t size);

  // Lists for weights whose rows are `row` floats long.
  void (*list_spikes)(const Maps& maps, int steps, const uint16_t* spikes, const uint16_t* kept, int64_t row,
                      Active& listed);
  void (*list_gradient)(const Maps& maps, int steps, const Gradient& gradient, int64_t row, Active& listed);

  // Weighted inputs, times `scale`, then neurons over all time steps.
  void (*conv_forward)(const Conv& conv, const Neuron& neuron, int steps, float scale, const Active& input,
                       const float* weights, const State& state, int first, int last);
  void (*pool_forward)(const Pool& pool, const Neuron& neuron, int steps, float scale, const uint16_t* input,
                       const uint16_t* kept, const State& state, int first, int last);
  // Neurons alone; `currents` has no padding. All rows.
  void (*neurons_forward)(const Maps& maps, const Neuron& neuron, int steps, const float* currents,
                          const State& state);

  // From the gradient of a layer's current to that of the current below. `conv` runs from the maps above to those below.
  // Vectors whose neurons are all outside the window at a time step are skipped there.
  void (*conv_backward)(const Conv& conv, const Neuron& neuron, int steps, const Active& gradient,
                        const float* weights, const Below& below, const Gradient& result, int first, int last);
  // To the gradient of the network's input, without padding. Weights are (in, tap x out), padded to whole vectors.
  void (*conv_to_input)(const Conv& conv, int steps, const Active& gradient, const float* weights, float* result,
                        int first, int last);
  // Both for pooling: where there are no neurons below (null), to the gradient of the input, in `result.values`.
  void (*pool_backward)(const Pool& pool, const Neuron& neuron, int steps, const Gradient& gradient,
                        const Below* below, const Gradient& result, int first, int last);
  // Neurons alone; `gradient` has no padding. All rows.
  void (*neurons_backward)(const Maps& maps, const Neuron& neuron, int steps, const float* gradient,
                           const State& state, const Gradient& result);

  // Adds one sample's weight gradient, `scale` times inputs times gradients, for output words `first` to `last` - 1.
  void (*conv_weights)(const Conv& conv, int steps, float scale, const Active& input, const Gradient& gradient,
                       int first, int last, float* result);

  // Vectors of outputs `first` to `last` - 1 of a fully-connected layer for some frames; `result` is (frame, outputs),
  // `scratch` has room for frames x kLinearVectors vectors.
  void (*linear)(int64_t outputs, const ByInput& active, const float* weights, float* result, int64_t first,
                 int64_t last, int64_t frames, float* scratch);
  // Adds the weight gradient of those outputs.
  void (*linear_weights)(int64_t outputs, const ByInput& active, const float* gradient, int64_t first, int64_t last,
                         float* result);

  // Neurons `first` to `last` - 1 of one sample over all time steps, densely: for the dense engine.
  void (*integrate)(const Neuron& neuron, int steps, const Sequence& currents, const Sequence& potentials,
                    const Sequence& spikes, int64_t first, int64_t last);
  void (*reverse)(const Neuron& neuron, int steps, const Sequence& gradient, const Sequence& potentials, int64_t first,
                  int64_t last);

  // One pixel of a layer again, on all of its input (step, pixel, word); bits as from conv_forward and pool_forward.
  void (*conv_again)(const Conv& conv, const Neuron& neuron, int steps, float scale, const uint16_t* input,
                     const float* weights, int64_t pixel, const Again& again, Places& places);
  void (*pool_again)(const Pool& pool, const Neuron& neuron, int steps, float scale, const uint16_t* input,
                     int64_t pixel, const Again& again);
};

extern const Kernels kPortable;
#if defined(SPIKEFLIP_X86)
extern const Kernels kAvx2;
extern const Kernels kAvx512;
#endif

}  // namespace spikeflip
