#include "map_layers.hpp"

#include <algorithm>
#include <limits>

#include "parallel.hpp"

namespace spikeflip {
namespace {

const Kernels* find(const std::string& name) {
#if defined(SPIKEFLIP_X86)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx512 && (name.empty() || name == "avx512")) return &kAvx512;
  if (avx2 && (name.empty() || name == "avx2")) return &kAvx2;
#endif
  if (name.empty() || name == "portable") return &kPortable;
  return nullptr;
}

const Kernels* active = find("");

// Runs part(first, last) over the rows of a map, in few enough tiles that threads share them evenly.
template <typename Part>
void over_rows(int height, int threads, Part part) {
  const int rows = threads <= 1 ? height : static_cast<int>(std::max<int64_t>(1, height / (4 * int64_t{threads})));
  const int tiles = (height + rows - 1) / rows;
  parallel(tiles, threads,
           [&](int64_t tile, int64_t) {
             const int first = static_cast<int>(tile) * rows;
             part(first, std::min(first + rows, height));
           });
}

// Whether lists, which count in 32 bits, have room for all of a sample's inputs of a layer.
bool countable(const Pass& pass, const Maps& maps) {
  return pass.steps * maps.pixels() <= std::numeric_limits<int32_t>::max() / maps.padded();
}

// Whether so many of a layer's inputs are active that events do not pay.
bool too_dense(const Pass& pass, const Maps& maps, const uint16_t* words) {
  const int64_t rows = pass.steps * maps.pixels();
  const double cells = static_cast<double>(rows) * maps.channels;
  return !countable(pass, maps) ||
         static_cast<double>(active->count(words, rows * maps.words())) > pass.most_dense * cells;
}

// Floats from one channel's weights to the next one's: on the way to the input, the sums of all taps.
int64_t row_back(const Maps& below, int kernel, bool first) {
  return padded(first ? int64_t{kernel} * kernel * below.channels : below.channels);
}

// A gradient without padding and with its zeros.
void unpad(const Maps& maps, int64_t rows, const Gradient& gradient, float* result) {
  for (int64_t row = 0; row < rows; ++row, result += maps.channels) {
    for (int w = 0; w < maps.words(); ++w) {
      const int64_t at = row * maps.words() + w;
      const int width = std::min(kVector, maps.channels - w * kVector);
      if (gradient.filled[at] == 0) {
        std::fill_n(result + w * kVector, width, 0.0f);
      } else {
        std::copy_n(gradient.values + at * kVector, width, result + w * kVector);
      }
    }
  }
}

// Threads inside each sample when `count` samples share `threads`.
int inner_threads(int64_t count, int threads) {
  return static_cast<int>(std::max<int64_t>(1, threads / std::max<int64_t>(count, 1)));
}

}  // namespace

std::optional<std::string> why_not(const Maps& below, int channels, int kernel, bool first) {
  if (kernel > kMostRows) return "has a kernel larger than " + std::to_string(kMostRows);
  if (kernel % 2 != 1 || channels < 1) return "has an even kernel or no channels";
  // Places in the weights are counted along a row of the maps in 32 bits.
  const auto above = [&](int64_t inputs, int64_t outputs) -> std::optional<std::string> {
    if (static_cast<double>(below.width) * static_cast<double>(inputs) * static_cast<double>(outputs) <= 0x1p32)
      return std::nullopt;
    return "has width × channels × padded outputs of " + std::to_string(below.width) + " × " + std::to_string(inputs) +
           " × " + std::to_string(outputs) + ", more than 2^32";
  };
  const auto forward = above(below.channels, padded(channels));
  return forward ? forward : above(channels, row_back(below, kernel, first));
}

const Kernels& kernels() { return *active; }

bool use_instructions(const std::string& name) {
  const Kernels* found = find(name);
  if (found == nullptr) return false;
  active = found;
  return true;
}

std::string instructions() {
#if defined(SPIKEFLIP_X86)
  if (active == &kAvx512) return "avx512";
  if (active == &kAvx2) return "avx2";
#endif
  return "portable";
}

void MapLayers::add_conv(int channels, int kernel, const float* forward, const float* backward) {
  Layer layer{};
  const Maps below = top();
  const Maps above{below.height, below.width, channels};
  layer.conv = {below, above, kernel, kernel / 2};
  layer.reversed = {above, below, kernel, kernel / 2};
  layer.forward = forward;
  layer.backward = backward;
  layers_.push_back(layer);
}

void MapLayers::add_pool(int size) {
  Layer layer{};
  const Maps below = top();
  layer.pooling = true;
  layer.pool = {below, {below.height / size, below.width / size, below.channels}, size};
  layers_.push_back(layer);
}

void MapLayers::make_scratch(int64_t workers) {
  while (static_cast<int64_t>(scratch_.size()) < workers) scratch_.push_back(std::make_unique<Scratch>());
}

MapLayers::Scratch& MapLayers::scratch(int64_t worker) { return *scratch_[static_cast<size_t>(worker)]; }

Gradient MapLayers::Scratch::gradient(int which, const Maps& maps, int steps) {
  const size_t words = static_cast<size_t>(steps * maps.pixels() * maps.words());
  return {values[which].get(words * kVector), filled[which].get(words)};
}

State MapLayers::state(const Pass& pass, int layer, int64_t sample) const {
  const Maps& maps = layers_[static_cast<size_t>(layer)].above();
  const States& all = pass.states[static_cast<size_t>(layer)];
  const int64_t words = sample * pass.steps * maps.pixels() * maps.words();
  return {all.potentials + words * kVector, all.inside + words, all.fired + words};
}

// What layer `layer` receives.
const uint16_t* MapLayers::spikes(const Pass& pass, int layer, int64_t sample) const {
  if (layer > 0) return state(pass, layer - 1, sample).fired;
  return pass.input + sample * pass.steps * input_.pixels() * input_.words();
}

const uint16_t* MapLayers::kept(const Pass& pass, int layer, int64_t sample) const {
  const uint16_t* all = pass.dropout[static_cast<size_t>(layer)].kept;
  const Maps& maps = layer > 0 ? layers_[static_cast<size_t>(layer) - 1].above() : input_;
  return all == nullptr ? nullptr : all + sample * maps.pixels() * maps.words();
}

std::vector<int> MapLayers::forward(const Pass& pass, const std::vector<int>& starts, int end) {
  std::vector<int> stops(starts.size());
  const int64_t count = static_cast<int64_t>(starts.size());
  make_scratch(std::min<int64_t>(count, std::max(pass.threads, 1)));
  parallel(count, pass.threads, [&](int64_t n, int64_t worker) {
    stops[static_cast<size_t>(n)] = forward_sample(pass, n, starts[static_cast<size_t>(n)], end,
                                                   scratch(worker), inner_threads(count, pass.threads));
  });
  return stops;
}

int MapLayers::forward_sample(const Pass& pass, int64_t sample, int start, int end, Scratch& scratch,
                              int threads) const {
  for (int i = start; i < end; ++i) {
    const Layer& layer = layers_[static_cast<size_t>(i)];
    const State after = state(pass, i, sample);
    const float scale = pass.dropout[static_cast<size_t>(i)].scale;
    if (layer.pooling) {
      over_rows(layer.pool.out.height, threads, [&](int first, int last) {
        active->pool_forward(layer.pool, neuron_, pass.steps, scale, spikes(pass, i, sample), kept(pass, i, sample),
                             after, first, last);
      });
      continue;
    }
    const Maps& below = layer.conv.in;
    if (too_dense(pass, below, spikes(pass, i, sample))) return i;
    active->list_spikes(below, pass.steps, spikes(pass, i, sample), kept(pass, i, sample), layer.conv.out.padded(),
                        scratch.active);
    over_rows(layer.conv.out.height, threads, [&](int first, int last) {
      active->conv_forward(layer.conv, neuron_, pass.steps, scale, scratch.active, layer.forward, after, first, last);
    });
  }
  return end;
}

void MapLayers::neurons(const Pass& pass, int layer, int64_t sample, const float* current) const {
  active->neurons_forward(layers_[static_cast<size_t>(layer)].above(), neuron_, pass.steps, current,
                          state(pass, layer, sample));
}

std::vector<int> MapLayers::backward(const Pass& pass, const std::vector<Start>& starts,
                                     const std::vector<float*>& weights) {
  std::vector<int> stops(starts.size());
  const int64_t count = static_cast<int64_t>(starts.size());
  make_scratch(std::min<int64_t>(count, std::max(pass.threads, 1)));
  // Weight gradients are sums over samples in order: one sample after the other, the threads inside each.
  const int threads = weights.empty() ? pass.threads : 1;
  const int inside = weights.empty() ? inner_threads(count, pass.threads) : pass.threads;
  parallel(count, threads, [&](int64_t n, int64_t worker) {
    stops[static_cast<size_t>(n)] =
        backward_sample(pass, starts[static_cast<size_t>(n)], weights, scratch(worker), inside);
  });
  return stops;
}

int MapLayers::backward_sample(const Pass& pass, const Start& start, const std::vector<float*>& weights,
                               Scratch& scratch, int threads) const {
  const auto below_of = [&](int i) {  // the neurons whose spikes layer i receives
    const Dropout& dropout = pass.dropout[static_cast<size_t>(i)];
    return Below{state(pass, i - 1, start.sample), kept(pass, i, start.sample), dropout.scale};
  };
  int which = 0;
  const Maps& top = above(static_cast<size_t>(start.layer));
  Gradient gradient = scratch.gradient(which, top, pass.steps);
  // Dropout of these spikes is the caller's.
  active->neurons_backward(top, neuron_, pass.steps, start.gradient, state(pass, start.layer, start.sample), gradient);
  for (int i = start.layer; i >= 0; --i) {
    const Layer& layer = layers_[static_cast<size_t>(i)];
    const Maps& maps = layer.above();
    const bool bottom_of_training = i == 0 && !weights.empty();  // where nobody wants the gradient of the input
    which = 1 - which;
    Below below{};
    if (i > 0) below = below_of(i);
    const Below* neurons = i > 0 ? &below : nullptr;
    Gradient result = i > 0 ? scratch.gradient(which, layer.below(), pass.steps) : Gradient{start.result, nullptr};
    if (layer.pooling) {
      if (bottom_of_training) break;
      over_rows(layer.pool.in.height, threads, [&](int first, int last) {
        active->pool_backward(layer.pool, neuron_, pass.steps, gradient, neurons, result, first, last);
      });
      gradient = result;
      continue;
    }
    if (too_dense(pass, maps, gradient.filled) || !countable(pass, layer.below())) {
      unpad(maps, pass.steps * maps.pixels(), gradient, start.stopped);
      return i;
    }
    active->list_gradient(maps, pass.steps, gradient, row_back(layer.below(), layer.conv.kernel, i == 0),
                          scratch.active);
    if (!weights.empty()) {
      active->list_spikes(layer.conv.in, pass.steps, spikes(pass, i, start.sample), kept(pass, i, start.sample),
                          layer.conv.out.padded(), scratch.inputs);
      constexpr int kBlock = 4;
      parallel((maps.words() + kBlock - 1) / kBlock, threads, [&](int64_t block, int64_t) {
        const int first = static_cast<int>(block) * kBlock;
        active->conv_weights(layer.conv, pass.steps, pass.dropout[static_cast<size_t>(i)].scale, scratch.inputs, gradient, first,
                             std::min(first + kBlock, maps.words()), weights[static_cast<size_t>(i)]);
      });
    }
    if (bottom_of_training) break;
    over_rows(layer.reversed.out.height, threads, [&](int first, int last) {
      if (i > 0) {
        active->conv_backward(layer.reversed, neuron_, pass.steps, scratch.active, layer.backward, below, result, first,
                              last);
      } else {
        active->conv_to_input(layer.reversed, pass.steps, scratch.active, layer.backward, start.result, first, last);
      }
    });
    gradient = result;
  }
  return -1;
}

}  // namespace spikeflip
