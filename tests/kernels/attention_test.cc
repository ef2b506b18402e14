// RopeAndAppendKv and PagedAttention.

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <tuple>

#include "tests/kernels/backend_case.h"

namespace strata::kernels {
namespace {

constexpr int kLayers = 2;
constexpr int kLayer = 1;
constexpr int kSequences = 3;
const int kPartition = PartitionTokens();

// A row of the batch: a position of a sequence.
struct At {
  int sequence = 0;
  int position = 0;
};

std::vector<At> Range(int sequence, int begin, int end) {
  std::vector<At> rows;
  for (int p = begin; p < end; ++p) rows.push_back({sequence, p});
  return rows;
}

std::vector<At> Concat(std::vector<At> a, const std::vector<At>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

class Attention : public BackendTest {
 protected:
  void SetUp() override { UseShape({8, 4, 32}); }

  // New cache, and the qkv of every position of every sequence.
  void UseShape(const AttentionShape& shape, int max_positions = 80) {
    shape_ = shape;
    max_positions_ = max_positions;
    row_size_ = (shape.num_heads + 2 * shape.num_kv_heads) * shape.head_dim;
    const int half = shape.head_dim / 2;
    cos_.resize(max_positions * half);
    sin_.resize(max_positions * half);
    for (int p = 0; p < max_positions; ++p) {
      for (int i = 0; i < half; ++i) {
        const double angle = p * std::pow(100.0, -1.0 * i / half);
        cos_[p * half + i] = static_cast<float>(std::cos(angle));
        sin_[p * half + i] = static_cast<float>(std::sin(angle));
      }
    }
    qkv_ = RandomValues(int64_t{kSequences} * max_positions * row_size_, 1);
    Restart(2);
  }

  void Restart(int num_threads) {
    const int half = shape_.head_dim / 2;
    const int per_sequence = blocks_per_sequence();
    const int num_blocks = 2 + kSequences * per_sequence;
    kv_.reset();
    rope_.clear();
    backend_ = GetParam().Create(num_threads);
    kv_ = backend_->CreateKvCache({kLayers, shape_.num_kv_heads, shape_.head_dim, num_blocks});
    rope_.emplace_back(*backend_, DType::kF32, max_positions_, half, cos_);
    rope_.emplace_back(*backend_, DType::kF32, max_positions_, half, sin_);
    // Blocks of the sequences interleave, in falling order.
    block_tables_.resize(kSequences * per_sequence);
    for (int s = 0; s < kSequences; ++s) {
      for (int j = 0; j < per_sequence; ++j) {
        block_tables_[s * per_sequence + j] = num_blocks - 1 - (j * kSequences + s);
      }
    }
  }

  int blocks_per_sequence() const { return (max_positions_ + kKvBlockTokens - 1) / kKvBlockTokens; }
  float* Qkv(At at) {
    return &qkv_[(int64_t{at.sequence} * max_positions_ + at.position) * row_size_];
  }
  const float* Qkv(At at) const { return const_cast<Attention*>(this)->Qkv(at); }
  RopeTable rope() const { return {rope_[0].view().as<float>(), rope_[1].view().as<float>()}; }

  void Begin(const std::vector<At>& rows) {
    std::vector<int32_t> positions;
    std::vector<int32_t> sequences;
    for (const At& at : rows) {
      positions.push_back(at.position);
      sequences.push_back(at.sequence);
    }
    const std::vector<int32_t> tokens(rows.size());
    backend_->BeginBatch({tokens, positions, sequences, block_tables_, blocks_per_sequence()});
  }

  // Appends the rows and attends. [rows][num_heads * head_dim]
  std::vector<std::vector<float>> Step(const std::vector<At>& rows) {
    return AppendAndAttend(rows, rows.size());
  }
  // Appends the rows in a batch of their own.
  void Append(const std::vector<At>& rows) { AppendAndAttend(rows, 0); }
  // Appends the rows and attends with the first `attending`.
  std::vector<std::vector<float>> AppendAndAttend(const std::vector<At>& rows, size_t attending) {
    Begin(rows);
    std::vector<float> values;
    for (const At& at : rows) values.insert(values.end(), Qkv(at), Qkv(at) + row_size_);
    const int64_t count = static_cast<int64_t>(rows.size());
    const DeviceTensor qkv(*backend_, DType::kF32, count, row_size_, values);
    backend_->RopeAndAppendKv(qkv, shape_, rope(), *kv_, kLayer);
    const int64_t cols = shape_.num_heads * shape_.head_dim;
    const int64_t num_out = static_cast<int64_t>(attending);
    const DeviceTensor out(*backend_, backend_->operand_dtype(), num_out, cols);
    backend_->PagedAttention(qkv.view().Rows(0, num_out), shape_, *kv_, kLayer, out);
    const std::vector<float> values_out = out.Values();
    std::vector<std::vector<float>> result;
    for (int64_t i = 0; i < num_out; ++i) {
      result.emplace_back(values_out.begin() + i * cols, values_out.begin() + (i + 1) * cols);
    }
    return result;
  }

  // Writes `value` as key and value of every position of every sequence.
  void FillCache(float value) {
    for (int s = 0; s < kSequences; ++s) {
      const std::vector<At> rows = Range(s, 0, max_positions_);
      Begin(rows);
      const int64_t count = static_cast<int64_t>(rows.size());
      const DeviceTensor qkv(*backend_, DType::kF32, count, row_size_,
                             std::vector<float>(count * row_size_, value));
      for (int layer = 0; layer < kLayers; ++layer) {
        backend_->RopeAndAppendKv(qkv, shape_, rope(), *kv_, layer);
      }
      backend_->Synchronize();
    }
  }

  std::vector<float> Rotated(const float* head, int position) const;
  void ExpectExact(At at, const std::vector<float>& got) const;

  AttentionShape shape_;
  int max_positions_ = 0;
  int row_size_ = 0;
  std::vector<float> cos_;  // [max_positions_, head_dim / 2]
  std::vector<float> sin_;
  std::vector<float> qkv_;  // [kSequences, max_positions_, row_size_]
  std::unique_ptr<KvCache> kv_;
  std::vector<DeviceTensor> rope_;
  std::vector<int32_t> block_tables_;
};

// In f32 and without fused operations, as backends are told to do.
std::vector<float> Attention::Rotated(const float* head, int position) const {
  const int half = shape_.head_dim / 2;
  std::vector<float> out(head, head + shape_.head_dim);
  for (int i = 0; i < half; ++i) {
    const float c = cos_[position * half + i];
    const float s = sin_[position * half + i];
    out[i] = head[i] * c - head[i + half] * s;
    out[i + half] = head[i + half] * c + head[i] * s;
  }
  return out;
}

// Compares one row with softmax(q K^T / sqrt(d)) V in f64 over the keys and
// values as the cache rounds them.
void Attention::ExpectExact(At at, const std::vector<float>& got) const {
  const int d = shape_.head_dim;
  const int count = at.position + 1;
  for (int h = 0; h < shape_.num_heads; ++h) {
    const int kv_head = h / (shape_.num_heads / shape_.num_kv_heads);
    const std::vector<float> q = Rotated(Qkv(at) + h * d, at.position);
    std::vector<double> scores;
    double score_error = 0;
    for (int t = 0; t < count; ++t) {
      const float* key = Qkv({at.sequence, t}) + (shape_.num_heads + kv_head) * d;
      const std::vector<float> k = Rounded(Rotated(key, t), kv_dtype());
      double score = 0;
      double magnitude = 0;
      for (int i = 0; i < d; ++i) {
        score += double{q[i]} * k[i];
        magnitude += std::abs(double{q[i]} * k[i]);
      }
      scores.push_back(score / std::sqrt(d));
      // d sums and products and the scaling of q, by the scale.
      score_error = std::max(score_error, (d + 3) * kEpsF32 * magnitude / std::sqrt(d));
    }
    const double max = *std::max_element(scores.begin(), scores.end());
    double total = 0;
    std::vector<double> sum(d);
    for (int t = 0; t < count; ++t) {
      const double weight = std::exp(scores[t] - max);
      const float* value =
          Qkv({at.sequence, t}) + (shape_.num_heads + shape_.num_kv_heads + kv_head) * d;
      total += weight;
      for (int i = 0; i < d; ++i) sum[i] += weight * Rounded(value[i], kv_dtype());
    }
    // A score off by e changes its weight by e; weights appear above and below
    // the fraction. exp has 4 eps, each of the `count` sums one, and each
    // block's rescaling up to 6 (scores here are below 2^4: 4 bits of them).
    const int blocks = count / kKvBlockTokens + 1;
    const double relative = 2 * (score_error + (4 + count + (6 + 16) * blocks) * kEpsF32);
    for (int i = 0; i < d; ++i) {
      const double expected = sum[i] / total;
      // Values are at most 1.
      const double tolerance = relative + WriteError(backend_->operand_dtype(), expected);
      ASSERT_NEAR(got[h * d + i], expected, tolerance)
          << "head " << h << " of " << shape_.num_heads << " position " << at.position;
    }
  }
}

TEST_P(Attention, AgreesWithDefinitionForEveryHeadLayout) {
  for (const auto& [heads, kv_heads, head_dim] : {std::tuple{8, 4, 32},
                                                  {4, 4, 16},
                                                  {6, 1, 64},
                                                  {5, 1, 48},
                                                  {4, 2, 128},
                                                  {2, 1, 256},
                                                  {9, 3, 16},
                                                  {2, 2, 96},
                                                  {50, 1, 16},
                                                  {14, 2, 80}}) {
    UseShape({heads, kv_heads, head_dim});
    const std::vector<At> rows = Concat(Range(0, 0, 37), Range(2, 0, 16));
    const std::vector<std::vector<float>> got = Step(rows);
    for (size_t i = 0; i < rows.size(); ++i) ExpectExact(rows[i], got[i]);
  }
}

TEST_P(Attention, RotatesQueriesInPlace) {
  const std::vector<At> rows = {{0, 0}, {0, 5}, {0, 79}};
  Begin(rows);
  std::vector<float> values;
  for (const At& at : rows) values.insert(values.end(), Qkv(at), Qkv(at) + row_size_);
  const DeviceTensor qkv(*backend_, DType::kF32, 3, row_size_, values);
  backend_->RopeAndAppendKv(qkv, shape_, rope(), *kv_, kLayer);
  for (int i = 0; i < 3; ++i) {
    for (int h = 0; h < shape_.num_heads; ++h) {
      const std::vector<float> expected =
          Rotated(Qkv(rows[i]) + h * shape_.head_dim, rows[i].position);
      const std::vector<float> row = qkv.Row(i);
      for (int j = 0; j < shape_.head_dim; ++j) {
        // A backend may fuse the multiply-add: one eps of each product.
        ASSERT_NEAR(row[h * shape_.head_dim + j], expected[j], 4 * kEpsF32);
      }
    }
  }
}

TEST_P(Attention, PrefillChunkEqualsTokenByToken) {
  const std::vector<std::vector<float>> chunk = Step(Range(0, 0, 50));
  Restart(2);
  for (int p = 0; p < 50; ++p) {
    ASSERT_EQ(Step(Range(0, p, p + 1))[0], chunk[p]) << "position " << p;
  }
  Restart(2);
  for (int p = 0; p < 50; p += 7) {
    const std::vector<At> rows = Range(0, p, std::min(p + 7, 50));
    const std::vector<std::vector<float>> part = Step(rows);
    for (size_t i = 0; i < rows.size(); ++i) ASSERT_EQ(part[i], chunk[rows[i].position]);
  }
}

TEST_P(Attention, RowResultDoesNotDependOnTheBatch) {
  const std::vector<At> own = Range(1, 0, 40);
  const std::vector<std::vector<float>> alone = Step(own);
  Restart(2);
  // Other sequences before, after and in between, rows in another order.
  std::vector<At> rows = Concat(Concat(Range(0, 0, 23), own), Range(2, 0, 64));
  std::shuffle(rows.begin(), rows.end(), std::mt19937(2));
  const std::vector<std::vector<float>> together = Step(rows);
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].sequence == 1) {
      ASSERT_EQ(together[i], alone[rows[i].position]);
    }
  }
}

TEST_P(Attention, ResultDoesNotDependOnThreads) {
  const std::vector<At> rows = Concat(Range(0, 0, 60), Range(1, 0, 33));
  std::vector<std::vector<float>> expected;
  for (const int threads : kThreadCounts) {
    Restart(threads);
    const std::vector<std::vector<float>> got = Step(rows);
    if (expected.empty()) expected = got;
    ASSERT_EQ(got, expected) << threads << " threads";
  }
}

// Lengths around everything that a backend may cut a long context into.
const std::vector<int> kLengths = {63,
                                   64,
                                   65,
                                   kPartition - 1,
                                   kPartition,
                                   kPartition + 1,
                                   kPartition + 63,
                                   2 * kPartition - 1,
                                   2 * kPartition,
                                   2 * kPartition + 1,
                                   3 * kPartition,
                                   4 * kPartition - 1,
                                   4 * kPartition + 17};
const int kLong = kLengths.back();

TEST_P(Attention, LongContextsAgreeWithDefinition) {
  for (const AttentionShape& shape :
       {AttentionShape{3, 1, 16}, AttentionShape{4, 2, 48}, AttentionShape{1, 1, 128}}) {
    UseShape(shape, 2 * kLong);
    // The own key of each of these rows is like its query, so that it has a good
    // part of the weight: to miss it, or one beyond, would not go unnoticed.
    std::vector<At> rows;
    std::vector<int> lengths = kLengths;
    lengths.push_back(2 * kLong);
    for (const int length : lengths) {
      rows.push_back({0, length - 1});
      const int d = shape.head_dim;
      float* row = Qkv(rows.back());
      for (int i = 0; i < shape.num_kv_heads * d; ++i) {
        const int head = i / d * (shape.num_heads / shape.num_kv_heads);
        row[shape.num_heads * d + i] = 3 * row[head * d + i % d];
      }
    }
    Append(Range(0, 0, 2 * kLong));
    const std::vector<std::vector<float>> got = Step(rows);
    for (size_t i = 0; i < rows.size(); ++i) ExpectExact(rows[i], got[i]);
  }
}

// One long sequence on few KV heads, drafts under verification, prefill chunks
// and short sequences: every row is the same as alone on one thread.
TEST_P(Attention, LongRowsDoNotDependOnBatchAndThreads) {
  for (const AttentionShape& shape :
       {AttentionShape{6, 1, 32}, AttentionShape{2, 2, 16}, AttentionShape{8, 2, 64}}) {
    UseShape(shape, kLong);
    std::vector<std::vector<At>> batches = {
        Range(0, kPartition - 5, kPartition + 6), Range(0, 2 * kPartition - 3, 2 * kPartition + 1),
        Concat(Range(1, kPartition - 60, kPartition + 20), Range(2, 3, 40))};
    std::vector<At> mixed = Concat(batches[0], {{1, 7}, {2, 9}});
    for (const int length : kLengths) mixed.push_back({1 + length % 2, length - 1});
    batches.push_back(mixed);
    std::shuffle(mixed.begin(), mixed.end(), std::mt19937(3));
    batches.push_back(mixed);

    Restart(1);
    for (int s = 0; s < kSequences; ++s) Append(Range(s, 0, kLong));
    std::vector<std::vector<std::vector<float>>> alone;
    for (const std::vector<At>& rows : batches) {
      alone.emplace_back();
      for (const At& at : rows) alone.back().push_back(Step({at})[0]);
    }
    for (const int threads : kThreadCounts) {
      Restart(threads);
      for (int s = 0; s < kSequences; ++s) Append(Range(s, 0, kLong));
      for (size_t b = 0; b < batches.size(); ++b) {
        ASSERT_EQ(Step(batches[b]), alone[b]) << threads << " threads, batch " << b;
        const At at = batches[b].front();
        ASSERT_EQ(Step({at})[0], alone[b][0]) << threads << " threads, row of batch " << b;
      }
    }
  }
}

TEST_P(Attention, LongPrefillEqualsTokenByToken) {
  UseShape({4, 2, 32}, kPartition + 100);
  const std::vector<std::vector<float>> chunk = Step(Range(0, 0, max_positions_));
  for (int p = 0; p < max_positions_; p += p < kPartition - 2 ? 29 : 1) {
    ASSERT_EQ(Step(Range(0, p, p + 1))[0], chunk[p]) << "position " << p;
  }
}

// Nothing that is written behind a row may reach it, not even times zero.
TEST_P(Attention, LaterRowsOfTheBatchDoNotMatter) {
  for (const int length : {5, 30, 63, 64, 66}) {
    UseShape({4, 2, 32});
    const std::vector<std::vector<float>> clean = Step(Range(0, 0, length));
    for (int p = length; p < length + 8; ++p) {
      std::fill_n(Qkv({0, p}), row_size_, std::numeric_limits<float>::quiet_NaN());
    }
    Restart(2);
    const std::vector<std::vector<float>> got = Step(Range(0, 0, length + 8));
    for (int p = 0; p < length; ++p) ASSERT_EQ(got[p], clean[p]) << p << " of " << length;
    ASSERT_TRUE(std::isnan(got[length][0]));
  }
}

// A position that attends to itself only gives its value as the cache holds it.
TEST_P(Attention, CacheRoundsToNearestEven) {
  UseShape({1, 1, 16});
  float* value = Qkv({0, 0}) + 2 * 16;
  std::fill_n(value, 16, 1.0f);
  value[1] = 1.0f + 0x1p-8f;             // bf16: tie between 1 and 1 + 2^-7: to 1
  value[2] = 1.0f + 0x3p-8f;             // tie: to 1 + 2^-6
  value[3] = 1.0f + 0x1p-8f + 0x1p-20f;  // above the tie
  value[4] = -(1.0f + 0x1p-8f);
  value[5] = 1.0f + 0x1p-11f;             // f16: tie between 1 and 1 + 2^-10: to 1
  value[6] = 1.0f + 0x3p-11f;             // tie: to 1 + 2^-9
  value[7] = 1.0f + 0x1p-11f + 0x1p-20f;  // above the tie
  value[8] = 1e6f;                        // beyond f16's range: its largest number
  value[9] = -65520.0f;
  value[15] = -0.25f;
  const std::vector<float> got = Step({{0, 0}})[0];
  EXPECT_EQ(got, Rounded({value, value + 16}, kv_dtype()));
  std::fill_n(value, 16, std::bit_cast<float>(0x7fffffffu));  // a NaN that rounding up would lose
  const std::vector<float> nan = Step({{0, 0}})[0];
  for (const float element : nan) EXPECT_TRUE(std::isnan(element));
}

TEST_P(Attention, ResultDoesNotDependOnWhichBlocksAreUsed) {
  const std::vector<std::vector<float>> expected = Step(Range(1, 0, 40));
  Restart(2);
  std::reverse(block_tables_.begin(), block_tables_.end());
  EXPECT_EQ(Step(Range(1, 0, 40)), expected);
}

TEST_P(Attention, UnusedSlotsDoNotMatter) {
  for (const float poison :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 1e30f}) {
    for (const int length : {1, 15, 16, 17, 31, 45, 63, 64, 65}) {
      Restart(2);
      const std::vector<std::vector<float>> clean = Step(Range(0, 0, length));
      Restart(2);
      FillCache(poison);
      ASSERT_EQ(Step(Range(0, 0, length)), clean) << poison << " beyond " << length;
    }
  }
}

TEST_P(Attention, OverwritingAPositionReplacesIt) {
  Step(Range(0, 0, 30));
  const std::vector<float> original = qkv_;
  // Drafts that were rejected: positions 20 to 29 are written again.
  qkv_ = RandomValues(static_cast<int64_t>(qkv_.size()), 3);
  std::copy(original.begin(), original.begin() + 20 * row_size_, qkv_.begin());
  const std::vector<std::vector<float>> again = Step(Range(0, 20, 30));
  Restart(2);
  const std::vector<std::vector<float>> fresh = Step(Range(0, 0, 30));
  for (int i = 0; i < 10; ++i) EXPECT_EQ(again[i], fresh[20 + i]);
}

TEST_P(Attention, LayersAreSeparate) {
  const std::vector<std::vector<float>> expected = Step(Range(0, 0, 20));
  const std::vector<At> rows = Range(0, 0, 20);
  const DeviceTensor other(*backend_, DType::kF32, 20, row_size_, RandomValues(20 * row_size_, 4));
  Begin(rows);
  backend_->RopeAndAppendKv(other, shape_, rope(), *kv_, kLayer - 1);
  const std::vector<std::vector<float>> next = Step(Range(0, 19, 20));
  EXPECT_EQ(next[0], expected[19]);
}

TEST_P(Attention, WorksOnTheFirstRowsOfTheBatch) {
  const std::vector<std::vector<float>> all = Step(Range(0, 0, 20));
  Restart(2);
  Begin(Concat(Range(0, 0, 20), Range(1, 0, 9)));
  const DeviceTensor qkv(*backend_, DType::kF32, 20, row_size_,
                         {qkv_.begin(), qkv_.begin() + 20 * row_size_});
  const DeviceTensor out(*backend_, backend_->operand_dtype(), 20,
                         shape_.num_heads * shape_.head_dim);
  backend_->RopeAndAppendKv(qkv, shape_, rope(), *kv_, kLayer);
  backend_->PagedAttention(qkv, shape_, *kv_, kLayer, out);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(out.Row(i), all[i]);
}

// Scores of +-2000: all weight on the best key, and no overflow on the way.
TEST_P(Attention, LargeScoresStayFinite) {
  UseShape({1, 1, 16});
  for (float& value : qkv_) value *= 100;
  for (const std::vector<float>& row : Step(Range(0, 0, 40))) {
    for (const float value : row) {
      ASSERT_TRUE(std::isfinite(value));
      ASSERT_LE(std::abs(value), 100.0f * (1 + kEpsBf16) * (1 + 64 * kEpsF32));
    }
  }
}

TEST_P(Attention, NoRowsIsNoWork) {
  Begin({});
  const DeviceTensor qkv(*backend_, DType::kF32, 0, row_size_);
  const DeviceTensor out(*backend_, backend_->operand_dtype(), 0,
                         shape_.num_heads * shape_.head_dim);
  backend_->RopeAndAppendKv(qkv, shape_, rope(), *kv_, kLayer);
  backend_->PagedAttention(qkv, shape_, *kv_, kLayer, out);
  EXPECT_TRUE(out.Values().empty());
}

STRATA_FOR_BACKENDS(AttentionCases(), Attention);

}  // namespace
}  // namespace strata::kernels
