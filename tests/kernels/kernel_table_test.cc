// Kernel tables of one instruction set are interchangeable.

#include "kernels/cpu/kernel_table.h"

#include <gtest/gtest.h>

#include <algorithm>
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

// Random codes and nibbles, with scales as quantisation makes them.
std::vector<char> RandomPanel(WeightFormat weights, int64_t k, int64_t cols, std::mt19937& random) {
  const bool int8 = weights == WeightFormat::kInt8;
  std::vector<char> panel(int8 ? PanelBytes<Int8Format>(k, cols) : PanelBytes<Int4Format>(k, cols));
  for (char& byte : panel) byte = static_cast<char>(random());
  for (int64_t j = 0; !int8 && j < cols; ++j) {
    const float scale = static_cast<float>(random() % 1000) * 1e-3f;
    std::memcpy(&panel[j * sizeof(scale)], &scale, sizeof(scale));
  }
  for (int64_t g = 0; int8 && g < k / Int8Format::kGroup; ++g) {
    for (int64_t j = 0; j < cols; ++j) {
      const uint16_t scale = static_cast<uint16_t>(0x3c00 + random() % 0x80);
      const int64_t group = g * cols * Int8Format::kColumnBytes;
      std::memcpy(&panel[group + Int8Format::kGroup * cols + 2 * j], &scale, sizeof(scale));
    }
  }
  return panel;
}

// Few rows of tables that leave them to others, and unpacking weights once for many rows or in
// registers: where AVX-512 multiplies integers, with tiles or without, results are the same.
TEST(KernelTable, QuantizedAvx512AndAmxGiveTheSameBits) {
  constexpr int64_t kRows = 290;
  constexpr int64_t kK = 4096 + 192;
  for (const WeightFormat weights : {WeightFormat::kInt8, WeightFormat::kInt4}) {
    std::vector<const KernelTable*> tables;
    for (const KernelTable* table : AvailableKernels(weights)) {
      const std::string name = table->name;
      if (name == "avx512" || name == "amx") tables.push_back(table);
    }
    if (tables.empty()) continue;
    std::mt19937 random(33);
    const int64_t cols = tables[0]->panel_cols;
    const std::vector<char> panel = RandomPanel(weights, kK, cols, random);
    std::vector<float> x(kRows * kK);
    for (float& value : x) value = static_cast<float>(random() % 2001) * 1e-3f - 1.0f;
    std::vector<char> a(
        kRows * std::max(QuantizedRowBytes<Int4Format>(kK), QuantizedRowBytes<Int8Format>(kK)));
    tables[0]->quantize_rows({x.data(), kRows, kK, kK, a.data()});
    for (const int64_t rows : {1, 10, 11, 16, 24, 25, 32, 33, 41, 290}) {
      std::vector<float> expected;
      for (const KernelTable* table : tables) {
        ASSERT_EQ(table->panel_cols, cols);
        std::vector<float> out(rows * cols);
        table->mat_mul({a.data(), panel.data(), rows, kK, cols, 0, 1, out.data(), false});
        if (expected.empty()) expected = out;
        ASSERT_EQ(out, expected) << NameOf(weights) << ", " << rows << " rows, " << table->name;
      }
    }
  }
}

}  // namespace
}  // namespace strata::kernels
