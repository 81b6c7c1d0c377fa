// The convolution and pooling layers of a network, run sample by sample: a sample's maps stay in one core's cache from
// layer to layer.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels.hpp"

namespace spikeflip {

// Why a convolution of maps of that shape cannot be run, `first` as the first layer; nothing if it can.
std::optional<std::string> why_not(const Maps& below, int channels, int kernel, bool first);

// The functions of the instruction set in use.
const Kernels& kernels();
// Chooses one (avx512, avx2, portable; empty: the best); false if the processor does not have it.
bool use_instructions(const std::string& name);
std::string instructions();

// The state of a layer's neurons over all samples.
struct States {
  float* potentials;
  uint16_t* inside;
  uint16_t* fired;
};

// What dropout did to a layer's spikes: bits of the kept ones, (sample, pixel, word), or null, and their value.
struct Dropout {
  const uint16_t* kept;
  float scale;
};

// What a call works on. Entry i of `spikes` and `dropout` belongs to the input of layer i.
struct Pass {
  int steps;
  const uint16_t* input;         // spikes as bits, (sample, step, pixel, word)
  std::vector<States> states;    // one a layer
  std::vector<Dropout> dropout;  // one a layer, of the spikes that it receives
  float most_dense;              // share of active inputs above which a convolution stops
  int threads;
};

// One sample's way back.
struct Start {
  int64_t sample;         // whose states it needs
  int layer;              // whose spikes' gradient is given
  const float* gradient;  // (step, pixel, channel) without padding
  float* stopped;         // where the gradient of a current goes at which the way stops; the same layout
  float* result;          // the gradient of the input; the same layout
};

class MapLayers {
 public:
  struct Layer {
    bool pooling;
    Conv conv;      // from the maps below to those above
    Conv reversed;  // the other way
    Pool pool;
    const float* forward;
    const float* backward;
    const Maps& below() const { return pooling ? pool.in : conv.in; }
    const Maps& above() const { return pooling ? pool.out : conv.out; }
  };
  MapLayers(Maps input, Neuron neuron) : input_(input), neuron_(neuron) {}
  MapLayers(const MapLayers&) = delete;

  size_t size() const { return layers_.size(); }
  const Layer& layer(size_t layer) const { return layers_[layer]; }
  const Neuron& neuron() const { return neuron_; }
  const Maps& input() const { return input_; }
  const Maps& below(size_t layer) const { return layers_[layer].below(); }
  const Maps& above(size_t layer) const { return layers_[layer].above(); }
  // Of a convolution, 0 of pooling.
  int kernel(size_t layer) const { return layers_[layer].conv.kernel; }
  // The maps that the next layer works on.
  const Maps& top() const { return layers_.empty() ? input_ : layers_.back().above(); }

  void add_conv(int channels, int kernel, const float* forward, const float* backward);
  void add_pool(int size);

  // Runs each sample from its layer in `starts` up to `end`, not included. Returns for each the layer at which it stopped
  // because its input is too dense for events to pay, or the end.
  std::vector<int> forward(const Pass& pass, const std::vector<int>& starts, int end);

  // Runs the neurons of one layer and sample on a current, (step, pixel, channel) without padding.
  void neurons(const Pass& pass, int layer, int64_t sample, const float* current) const;

  // Runs each start back. Returns for each the layer at which it stopped, -1 where it reached the input. With `weights`,
  // one a layer, (tap, in, out padded), the weight gradients of all layers passed are added to them.
  std::vector<int> backward(const Pass& pass, const std::vector<Start>& starts, const std::vector<float*>& weights);

 private:
  struct Scratch {
    Active active, inputs;
    Buffer<float> values[2];
    Buffer<uint16_t> filled[2];
    Gradient gradient(int which, const Maps& maps, int steps);
  };

  State state(const Pass& pass, int layer, int64_t sample) const;
  const uint16_t* spikes(const Pass& pass, int layer, int64_t sample) const;
  const uint16_t* kept(const Pass& pass, int layer, int64_t sample) const;
  int forward_sample(const Pass& pass, int64_t sample, int start, int end, Scratch& scratch, int threads) const;
  int backward_sample(const Pass& pass, const Start& start, const std::vector<float*>& weights, Scratch& scratch,
                      int threads) const;
  void make_scratch(int64_t workers);
  Scratch& scratch(int64_t worker);

  Maps input_;
  Neuron neuron_;
  std::vector<Layer> layers_;
  std::vector<std::unique_ptr<Scratch>> scratch_;
};

}  // namespace spikeflip
