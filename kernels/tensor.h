// Element types, views of row-major matrices, and owned device memory.

#ifndef STRATA_KERNELS_TENSOR_H_
#define STRATA_KERNELS_TENSOR_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

namespace strata::kernels {

enum class DType : uint8_t { kF32, kBF16, kF16 };

constexpr size_t SizeOf(DType dtype) { return dtype == DType::kF32 ? 4 : 2; }
constexpr const char* NameOf(DType dtype) {
  return dtype == DType::kF32 ? "f32" : dtype == DType::kBF16 ? "bf16" : "f16";
}

// A contiguous row-major matrix in device memory. Does not own it.
struct TensorView {
  void* data = nullptr;
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;

  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }
  // Rows [first, first + count).
  TensorView Rows(int64_t first, int64_t count) const {
    return {static_cast<char*>(data) + first * cols * static_cast<int64_t>(SizeOf(dtype)), dtype,
            count, cols};
  }
};

struct ConstTensorView {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;

  ConstTensorView() = default;
  ConstTensorView(const void* data, DType dtype, int64_t rows, int64_t cols)
      : data(data), dtype(dtype), rows(rows), cols(cols) {}
  ConstTensorView(const TensorView& v)  // NOLINT: a view of mutable data is a view of data
      : data(v.data), dtype(v.dtype), rows(v.rows), cols(v.cols) {}

  template <typename T>
  const T* as() const {
    return static_cast<const T*>(data);
  }
};

// A row-major matrix in host memory, such as a tensor of a memory-mapped checkpoint.
struct HostMatrix {
  const void* data = nullptr;  // aligned to its element size at least
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
};

// Device memory with one owner.
class Buffer {
 public:
  Buffer() = default;
  Buffer(void* data, size_t size_bytes, std::function<void(void*)> free)
      : data_(data, std::move(free)), size_bytes_(size_bytes) {}

  void* data() const { return data_.get(); }
  size_t size_bytes() const { return size_bytes_; }
  TensorView View(DType dtype, int64_t rows, int64_t cols) const {
    return {data_.get(), dtype, rows, cols};
  }

 private:
  std::unique_ptr<void, std::function<void(void*)>> data_{nullptr, [](void*) {}};
  size_t size_bytes_ = 0;
};

}  // namespace strata::kernels

#endif  // STRATA_KERNELS_TENSOR_H_
