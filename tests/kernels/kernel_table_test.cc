// Kernel tables of one instruction set are interchangeable.

#include "kernels/cpu/kernel_table.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/cpu/dispatch.h"
#include "kernels/cpu/quantized_layout.h"

namespace strata::kernels {
namespace {

// The dot instruction and the widened FMA are interchangeable, subnormals included.
TEST(KernelTable, TablesOfOneNameGiveTheSameBits) {
  constexpr int64_t kRows = 9;
  constexpr int64_t kK = 528;
  std::mt19937 random(28);
  // Finite values whose exponent field is in [low, low + range).
  const auto value = [&](uint32_t low, uint32_t range) {
    const uint32_t exponent = low + random() % range;
    return static_cast<uint16_t>((random() & 0x8000u) | exponent << 7 | (random() & 0x7fu));
  };
  std::vector<uint16_t> a(kRows * kK);
  std::vector<uint16_t> panel(64 * kK);
  for (uint16_t& w : panel) w = value(100, 40);
  // Row 0 is subnormal; the products and sums of row 1 are, mostly.
  for (int64_t i = 0; i < kRows * kK; ++i) {
    a[i] = i < kK ? value(0, 1) : i < 2 * kK ? value(1, 6) : value(100, 40);
  }
  const std::vector<const KernelTable*> tables = AvailableKernels(WeightFormat::kBF16);
  for (size_t i = 1; i < tables.size(); ++i) {
    if (std::string(tables[i]->name) != tables[i - 1]->name) continue;
    std::vector<float> outs[2];
    std::vector<uint16_t> gated[2];
    for (int t = 0; t < 2; ++t) {
      outs[t].assign(kRows * 64, 1e-39f);
      gated[t].resize(kRows * 32);
      tables[i - t]->mat_mul({a.data(), panel.data(), kRows, kK, 64, 0, 1, outs[t].data(), true});
      tables[i - t]->gated_mat_mul(
          {a.data(), panel.data(), kRows, kK, 32, 0, 1, gated[t].data(), false});
    }
    for (size_t j = 0; j < outs[0].size(); ++j) {
      ASSERT_EQ(std::bit_cast<uint32_t>(outs[0][j]), std::bit_cast<uint32_t>(outs[1][j]));
    }
    EXPECT_EQ(gated[0], gated[1]);
  }
}

// Unpacking weights once for many rows, or in registers.
TEST(KernelTable, Int4TablesOfOneNameGiveTheSameBits) {
  constexpr int64_t kRows = 41;
  constexpr int64_t kK = 4096;
  const std::vector<const KernelTable*> tables = AvailableKernels(WeightFormat::kInt4);
  for (size_t i = 1; i < tables.size(); ++i) {
    if (std::string(tables[i]->name) != tables[i - 1]->name) continue;
    std::mt19937 random(33);
    const int64_t cols = tables[i]->panel_cols;
    std::vector<char> panel(PanelBytes<Int4Format>(kK, cols));
    for (char& byte : panel) byte = static_cast<char>(random());
    for (int64_t j = 0; j < cols; ++j) {
      const float scale = static_cast<float>(random() % 1000) * 1e-3f;
      std::memcpy(&panel[j * sizeof(scale)], &scale, sizeof(scale));
    }
    std::vector<float> x(kRows * kK);
    for (float& value : x) value = static_cast<float>(random() % 2001) * 1e-3f - 1.0f;
    std::vector<char> a(kRows * QuantizedRowBytes<Int4Format>(kK));
    tables[i]->quantize_rows({x.data(), kRows, kK, kK, a.data()});
    for (const int64_t rows : {1, 10, 11, 16, 40, 41}) {
      std::vector<float> outs[2];
      for (int t = 0; t < 2; ++t) {
        outs[t].resize(rows * cols);
        tables[i - t]->mat_mul(
            {a.data(), panel.data(), rows, kK, cols, 0, 1, outs[t].data(), false});
      }
      ASSERT_EQ(outs[0], outs[1]) << rows << " rows";
    }
  }
}

}  // namespace
}  // namespace strata::kernels
