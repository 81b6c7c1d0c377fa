// Arrays from Python. No address is taken of one before its type, shape, order and device are what the kernels expect.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <string>
#include <vector>

#include "kernels.hpp"

namespace spikeflip {

namespace nb = nanobind;

// A share of an array's memory, which lives as long as the last of them.
using Array = nb::ndarray<>;

// What PyTorch has for the kernels' T.
template <typename T>
struct InPython;
template <>
struct InPython<float> {
  static constexpr const char* name = "float32";
  static constexpr nb::dlpack::dtype type = nb::dtype<float>();
};
template <>
struct InPython<uint16_t> {
  static constexpr const char* name = "int16";
  static constexpr nb::dlpack::dtype type = nb::dtype<int16_t>();
};
template <>
struct InPython<int64_t> {
  static constexpr const char* name = "int64";
  static constexpr nb::dlpack::dtype type = nb::dtype<int64_t>();
};
template <>
struct InPython<bool> {
  static constexpr const char* name = "bool";
  static constexpr nb::dlpack::dtype type = nb::dtype<bool>();
};

std::vector<int64_t> shape_of(const Array& array);
// Throws std::invalid_argument, which Python sees as ValueError, unless the array is of that many axes.
void check_axes(const Array& array, const char* what, size_t axes);
void check(const Array& array, const char* what, const char* name, nb::dlpack::dtype type,
           const std::vector<int64_t>& shape);

// The values of an array of this shape in one piece; throws if it is another.
template <typename T>
T* values_of(const Array& array, const char* what, const std::vector<int64_t>& shape) {
  check(array, what, InPython<T>::name, InPython<T>::type, shape);
  return static_cast<T*>(array.data());
}

// A tensor (sample, step, ...) of floats of which every step's neurons fill a stretch of memory, in the order of `like`.
Sequence sequence_of(const Array& array, const char* what, const Array& like);

}  // namespace spikeflip
