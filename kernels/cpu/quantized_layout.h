// How quantised weights and operands are laid out. Plain C in spirit, as
// kernel_table.h explains.
//
// K is cut into groups of kGroup elements, the last one padded with zeros.
//
// An int8 panel holds, group after group, for all its columns the weights as
// unsigned bytes q and then a bf16 scale each:
//   [kGroup / 4][cols][4] q, [cols] scale          weight = scale * (q - 128)
// An int4 panel starts with an f32 scale of each column; a group holds the
// nibbles, the low ones of 4 bytes being elements 8 i + 0..3 and the high ones
// 8 i + 4..7, then codes of a byte for scale and zero point:
//   [cols] f32 scale; [kGroup / 8][cols][4] q, [cols] code, [cols] zero
//                                    weight = scale * code * (16 q - zero)
//
// An operand row holds k int8, then an OperandGroup a group:
//   element = OperandGroup::scale * int8

#ifndef STRATA_KERNELS_CPU_QUANTIZED_LAYOUT_H_
#define STRATA_KERNELS_CPU_QUANTIZED_LAYOUT_H_

#include <stdint.h>

namespace strata::kernels {

struct Int8Format {
  static constexpr int kBits = 8;
  static constexpr int64_t kGroup = 64;
  static constexpr int64_t kPerLane = 4;           // elements of K in 32 bits
  static constexpr int64_t kHeadBytes = 0;         // of a column, once
  static constexpr int64_t kScaleBytes = 2;        // of a column, in each group
  static constexpr int64_t kColumnBytes = 64 + 2;  // of a column, in each group
  static constexpr int32_t kOperandFactor = -128;
};

struct Int4Format {
  static constexpr int kBits = 4;
  static constexpr int64_t kGroup = 32;
  static constexpr int64_t kPerLane = 8;
  static constexpr int64_t kHeadBytes = 4;
  static constexpr int64_t kScaleBytes = 2;
  static constexpr int64_t kColumnBytes = 16 + 2;
  static constexpr int32_t kOperandFactor = -1;
};

struct OperandGroup {
  float scale;
  // kOperandFactor times the sum of the group's int8: what products with
  // unsigned weights have to be corrected by, times the zero point in int4.
  int32_t offset;
};

template <class Format>
constexpr int64_t PaddedK(int64_t k) {
  return (k + Format::kGroup - 1) / Format::kGroup * Format::kGroup;
}

// k padded, here and below.
template <class Format>
constexpr int64_t PanelBytes(int64_t k, int64_t cols) {
  return cols * (Format::kHeadBytes + k / Format::kGroup * Format::kColumnBytes);
}

template <class Format>
constexpr int64_t QuantizedRowBytes(int64_t k) {
  return k + k / Format::kGroup * static_cast<int64_t>(sizeof(OperandGroup));
}

}  // namespace strata::kernels

#endif  // STRATA_KERNELS_CPU_QUANTIZED_LAYOUT_H_
