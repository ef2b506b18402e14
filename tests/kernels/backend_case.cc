#include "tests/kernels/backend_case.h"

#include <cstring>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/float_types.h"
#include "kernels/reference/reference_backend.h"

namespace strata::kernels {
namespace {

// Exact for the values tests use: f16 here is only made of small multiples of 2^-10.
uint16_t F32ToF16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) == 0) return static_cast<uint16_t>(bits >> 16);
  return static_cast<uint16_t>((bits >> 16 & 0x8000u) | (((bits >> 23 & 0xffu) - 112) << 10) |
                               (bits >> 13 & 0x3ffu));
}

std::vector<char> Encode(DType dtype, const std::vector<float>& values) {
  std::vector<char> bytes(values.size() * SizeOf(dtype));
  for (size_t i = 0; i < values.size(); ++i) {
    if (dtype == DType::kF32) {
      std::memcpy(&bytes[i * 4], &values[i], 4);
    } else {
      const uint16_t half = dtype == DType::kBF16 ? F32ToBf16(values[i]) : F32ToF16(values[i]);
      std::memcpy(&bytes[i * 2], &half, 2);
    }
  }
  return bytes;
}

}  // namespace

std::unique_ptr<Backend> BackendCase::Create(int num_threads) const {
  if (isa == "reference") return CreateReferenceBackend();
  return CreateCpuBackend({weight_dtype, num_threads, isa});
}

std::vector<BackendCase> AllBackendCases() {
  std::vector<BackendCase> cases = {{"reference", DType::kF32}};
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const std::string& isa : AvailableCpuIsas()) {
      // AVX-512 without its bf16 extension runs f32 weights only.
      for (const KernelTable* table : AvailableKernels(dtype == DType::kBF16)) {
        if (std::string(table->name).rfind(isa, 0) == 0) {
          cases.push_back({isa, dtype});
          break;
        }
      }
    }
  }
  return cases;
}

float Rounded(float value, DType dtype) {
  if (dtype == DType::kBF16) return Bf16ToF32(F32ToBf16(value));
  return dtype == DType::kF16 ? F16ToF32(F32ToF16(value)) : value;
}

std::vector<float> Rounded(std::vector<float> values, DType dtype) {
  for (float& value : values) value = Rounded(value, dtype);
  return values;
}

std::vector<float> RandomValues(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(random() >> 8) * 0x1p-23f - 1.0f;
  return values;
}

DeviceTensor::DeviceTensor(Backend& backend, DType dtype, int64_t rows, int64_t cols)
    : backend_(backend),
      dtype_(dtype),
      rows_(rows),
      cols_(cols),
      buffer_(backend.Allocate(rows * cols * SizeOf(dtype))) {}

DeviceTensor::DeviceTensor(Backend& backend, DType dtype, int64_t rows, int64_t cols,
                           const std::vector<float>& values)
    : DeviceTensor(backend, dtype, rows, cols) {
  const std::vector<char> bytes = Encode(dtype, values);
  if (!bytes.empty()) backend.CopyToDevice(buffer_.data(), bytes.data(), bytes.size());
}

std::vector<float> DeviceTensor::Values() const {
  backend_.Synchronize();
  std::vector<float> values(rows_ * cols_);
  for (int64_t i = 0; i < rows_ * cols_; ++i) values[i] = LoadAsF32(buffer_.data(), dtype_, i);
  return values;
}

std::vector<float> DeviceTensor::Row(int64_t row) const {
  const std::vector<float> values = Values();
  return {values.begin() + row * cols_, values.begin() + (row + 1) * cols_};
}

HostTensor::HostTensor(DType dtype, int64_t rows, int64_t cols, const std::vector<float>& values)
    : dtype_(dtype), rows_(rows), cols_(cols), bytes_(Encode(dtype, values)) {}

}  // namespace strata::kernels
