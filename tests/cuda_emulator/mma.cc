// What PTX's mma.sync computes, in C++: products and sums in f32, in order of K. Tensor cores sum
// in another order and with other rounding.

#include "kernels/cuda/mma.h"

#include "kernels/float_types.h"
#include "tests/cuda_emulator/prelude.h"

namespace strata::kernels::cuda {
namespace {

constexpr int kGroups = 8;

struct Registers {
  uint32_t a[4];
  uint32_t b[2];
};
static_assert(sizeof(Registers) <= cuda_emulator::kMaxExchangeBytes);

// The low or the high half of a word.
float Bf16Of(uint32_t word, int high) {
  return __uint_as_float(high ? word & 0xffff0000u : word << 16);
}
float F16Of(uint32_t word, int high) {
  return F16ToF32(static_cast<uint16_t>(high ? word >> 16 : word));
}

template <float (*kHalfOf)(uint32_t word, int high)>
void Multiply(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  cuda_emulator::Block& block = cuda_emulator::Block::Current();
  const Registers mine = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
  const std::byte* brought =
      block.Exchange(0xffffffffu, &mine, sizeof(mine), "mma", std::source_location::current());
  const auto of = [&](int lane) {
    return reinterpret_cast<const Registers*>(brought + lane * cuda_emulator::kMaxExchangeBytes);
  };
  const int g = block.lane() / 4;
  const int t = block.lane() % 4;
  for (int i = 0; i < 4; ++i) {
    const int row_half = i / 2;
    const int column = 2 * t + i % 2;
    for (int k = 0; k < 16; ++k) {
      const int owner = k % 8 / 2;
      const float left = kHalfOf(of(g * 4 + owner)->a[row_half + 2 * (k / kGroups)], k % 2);
      const float right = kHalfOf(of(column * 4 + owner)->b[k / kGroups], k % 2);
      c[i] = fmaf(left, right, c[i]);
    }
  }
}

}  // namespace

template <>
void Mma<__nv_bfloat16>(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  Multiply<Bf16Of>(c, a, b);
}
template <>
void Mma<__half>(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  Multiply<F16Of>(c, a, b);
}

}  // namespace strata::kernels::cuda
