// Scores of spikes of which a few cells are flipped. Of each sample its currents and spikes are held; from layer to layer
// only the currents whose input has changed are summed again, from nothing and in the layers' own order: a sum to which
// differences are added would be rounded otherwise. Layers too dense for lists, which MapLayers leaves to PyTorch, are
// summed by events here too, and equal to PyTorch's up to rounding.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "map_layers.hpp"

namespace spikeflip {

// A fully-connected layer; weights are (inputs, outputs padded).
struct Linear {
  int64_t outputs;
  const float* weights;
};

// For each of `count` rows `each` cells to flip, (step, channel, height, width) in one number; -1 for none. A cell that is
// given twice is flipped twice.
struct Flips {
  int64_t count, each;
  const int64_t* rows;
  const int64_t* cells;
};

class Rescorer {
 public:
  // Over `samples` inputs, bits (sample, step, pixel, word), which it changes; it holds up to `most` of them at a time.
  Rescorer(const MapLayers& layers, std::vector<Linear> linear, int steps, int64_t samples, uint16_t* input,
           int64_t most);

  // How often each output fires, (row, output), with only that row's cells flipped.
  void scores(const Flips& flips, float* counts, int threads);
  // Flips for good; no row twice.
  void flip(const Flips& flips, int threads);

 private:
  using Spikes = std::vector<std::vector<uint16_t>>;  // what each map layer receives, then what the last one sends
  struct HeldLinear {
    std::vector<float> currents, spikes;  // (step, output)
  };
  struct Held {
    int64_t version;
    Spikes spikes;
    std::vector<std::vector<float>> currents;  // of each map layer: (pixel, step, channel)
    std::vector<HeldLinear> linear;
  };

  // The steps at which pixels of one layer's maps have changed.
  class Changes {
   public:
    Changes(int64_t pixels, int steps);
    void add(int64_t pixel, int step);
    void add(int64_t pixel, const uint64_t* steps);
    void clear();
    const std::vector<int64_t>& pixels() const { return pixels_; }
    const uint64_t* steps(int64_t pixel) const { return steps_.data() + pixel * words_; }

   private:
    int64_t words_;
    std::vector<uint64_t> steps_;
    std::vector<uint8_t> known_;
    std::vector<int64_t> pixels_;
  };
  struct Word {
    size_t layer;
    int64_t at;
    uint16_t before;
  };
  struct Frame {
    int64_t row;
    int step;
  };
  // What a thread works with: a sample's spikes, in which it flips, and how to take that back.
  struct Worker {
    int64_t version = -1;
    Spikes spikes;
    std::vector<Changes> changes, again;
    std::vector<Word> log;
    Places places;
    std::vector<uint16_t> fired;
    std::vector<Frame> frames;    // the inputs of the next fully-connected layer that have changed, by row
    std::vector<uint16_t> words;  // of the first such layer
    std::vector<float> values, currents, sequence, potentials, outputs;
  };
  struct Task {
    int64_t sample;
    size_t first, last;  // in an order of the rows
  };

  const Maps& maps(size_t layer) const;
  int64_t words(size_t layer) const;
  void make_workers(int64_t tasks, int threads);
  void hold(const std::vector<int64_t>& samples, int threads);
  std::unique_ptr<Held> made(int64_t sample, Worker& worker) const;
  void copy(const Held& held, Worker& worker) const;
  void score(Held& held, const Flips& flips, const int64_t* rows, const int64_t* end, float* counts,
             Worker& worker) const;
  void turn(const int64_t* cells, int64_t each, uint16_t* input, Changes& changes) const;
  void run_maps(Held& held, Spikes& spikes, bool keep, Worker& worker) const;
  void compare(const Maps& maps, size_t layer, int64_t pixel, Spikes& spikes, bool keep, Worker& worker) const;
  void list_frames(int64_t row, const Spikes& spikes, Worker& worker) const;
  void run_linear(Held& held, bool keep, float* counts, Worker& worker) const;
  void run_outputs(HeldLinear& held, int64_t outputs, int64_t row, bool keep, Worker& worker) const;
  void count(const std::vector<float>& spikes, float* counts) const;
  void clear(Worker& worker) const;

  const MapLayers& layers_;
  std::vector<Linear> linear_;
  size_t depth_;  // of map layers
  int steps_;
  uint16_t* input_;
  int64_t most_, versions_ = 0;
  std::vector<std::unique_ptr<Held>> held_;
  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace spikeflip
