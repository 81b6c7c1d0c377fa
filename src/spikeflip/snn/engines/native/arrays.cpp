#include "arrays.hpp"

#include <stdexcept>

namespace spikeflip {
namespace {

std::string text_of(const std::vector<int64_t>& sizes) {
  std::string text;
  for (const int64_t size : sizes) text += (text.empty() ? "" : ", ") + std::to_string(size);
  return "(" + text + ")";
}

std::string text_of(nb::dlpack::dtype type) {
  switch (static_cast<nb::dlpack::dtype_code>(type.code)) {
    case nb::dlpack::dtype_code::Bool: return "bool";
    case nb::dlpack::dtype_code::Int: return "int" + std::to_string(type.bits);
    case nb::dlpack::dtype_code::UInt: return "uint" + std::to_string(type.bits);
    case nb::dlpack::dtype_code::Float: return "float" + std::to_string(type.bits);
    default: return "another type";
  }
}

std::vector<int64_t> strides_of(const Array& array) {
  return {array.stride_ptr(), array.stride_ptr() + array.ndim()};
}

[[noreturn]] void refuse(const Array& array, const char* what, const std::string& needed) {
  const bool on_cpu = array.device_type() == nb::device::cpu::value;
  throw std::invalid_argument(std::string(what) + " must be " + needed + " on the CPU, not " + text_of(array.dtype()) +
                              " " + text_of(shape_of(array)) + " with strides " + text_of(strides_of(array)) +
                              (on_cpu ? "" : " on another device"));
}

bool in_one_piece(const Array& array) {
  int64_t stride = 1;
  for (size_t i = array.ndim(); i-- > 0; stride *= static_cast<int64_t>(array.shape(i)))
    if (array.shape(i) > 1 && array.stride(i) != stride) return array.size() == 0;
  return true;
}

bool has(const Array& array, nb::dlpack::dtype type) {
  return array.device_type() == nb::device::cpu::value && array.dtype() == type;
}

// From the first neuron of a step to behind the last.
int64_t reach(const Array& array) {
  int64_t last = 0;
  for (size_t i = 2; i < array.ndim(); ++i) last += (static_cast<int64_t>(array.shape(i)) - 1) * array.stride(i);
  return last + 1;
}

}  // namespace

std::vector<int64_t> shape_of(const Array& array) { return {array.shape_ptr(), array.shape_ptr() + array.ndim()}; }

void check_axes(const Array& array, const char* what, size_t axes) {
  if (array.ndim() != axes) refuse(array, what, "of " + std::to_string(axes) + " axes");
}

void check(const Array& array, const char* what, const char* name, nb::dlpack::dtype type,
           const std::vector<int64_t>& shape) {
  if (!has(array, type) || shape_of(array) != shape || !in_one_piece(array))
    refuse(array, what, std::string(name) + " " + text_of(shape) + " in one piece");
}

Sequence sequence_of(const Array& array, const char* what, const Array& like) {
  bool fits = has(array, InPython<float>::type) && array.ndim() >= 2 && shape_of(array) == shape_of(like);
  int64_t neurons = 1;
  for (size_t i = 2; fits && i < array.ndim(); ++i) {
    fits = array.shape(i) <= 1 || (array.stride(i) > 0 && array.stride(i) == like.stride(i));
    neurons *= static_cast<int64_t>(array.shape(i));
  }
  if (!fits || (array.size() != 0 && reach(array) != neurons))
    refuse(array, what,
           "float32 " + text_of(shape_of(like)) + " with the neurons of a step in one piece and in one order");
  return {static_cast<float*>(array.data()), array.stride(0), array.stride(1)};
}

}  // namespace spikeflip
