// Plans against published figures, against what a model really allocates, and against each other.

#include "engine/planning/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/model_tensors.h"
#include "engine/model/llama_model.h"
#include "kernels/cpu/cpu_ranks.h"
#include "tests/support/test_models.h"

namespace strata {
namespace {

using ::testing::HasSubstr;

ModelConfig Llama70B() {
  ModelConfig config;
  config.name = "llama2-70b";
  config.vocab_size = 32000;
  config.hidden_size = 8192;
  config.intermediate_size = 28672;
  config.num_layers = 80;
  config.num_heads = 64;
  config.num_kv_heads = 8;
  config.head_dim = 128;
  config.max_position_embeddings = 4096;
  return config;
}

PlanOptions On(const char* hardware, int num_ranks) {
  PlanOptions options;
  options.hardware = FindHardware(hardware).value();
  options.num_ranks = num_ranks;
  return options;
}

double WeightBytes(const Plan& plan) {
  double bytes = 0;
  for (const RankMemory& rank : plan.ranks) bytes += rank.weights + rank.embedding;
  return bytes;
}

// 68,976,648,192 parameters, of which 161 x 8192 are norms; 2 x 80 layers x 8 heads x 128 x 2 bytes
// a token.
TEST(Plan, Of70BHasThePublishedSizes) {
  for (const int ranks : {1, 2, 4, 8}) {
    const Plan plan = MakePlan(Llama70B(), On("8xA100", ranks)).value();
    EXPECT_EQ(WeightBytes(plan), 2.0 * (68'976'648'192 - 161 * 8192)) << ranks;
    EXPECT_EQ(plan.kv_bytes_per_token, 320 * 1024) << ranks;
    EXPECT_EQ(plan.kv_tokens, (int64_t{2} << 30) / (320 * 1024));
    EXPECT_EQ(plan.fits(), ranks >= 2) << ranks;  // 138 GB on 80 GB each
    double kv = 0;
    for (const RankMemory& rank : plan.ranks) kv += rank.kv;
    EXPECT_EQ(kv, static_cast<double>(plan.kv_tokens) * plan.kv_bytes_per_token);
  }
}

// gpt-fast reads the same weights on such machines: its README has 21.3 tokens/s over 2 ranks, 38.0
// over 4 and 62.5 over 8, which no limit may be below, and estimates should be near.
TEST(Plan, SpeedsAreThoseOfSoftwareThatDoesTheSame) {
  const std::pair<int, double> published[] = {{2, 21.3}, {4, 38.0}, {8, 62.5}};
  for (const auto& [ranks, tokens_per_second] : published) {
    const Plan plan = MakePlan(Llama70B(), On("8xA100", ranks)).value();
    EXPECT_GT(plan.one_sequence.limit, tokens_per_second);
    EXPECT_GT(plan.one_sequence.limit, plan.one_sequence.expected);
    EXPECT_NEAR(plan.one_sequence.expected / tokens_per_second, 1, 0.25) << ranks;
  }
}

// The model card of layerskip-llama2-70B: transformers on 8 A100, 9.89 tokens/s without drafts and
// 12.49 with. Layers run one device after another there, so the limit is one device's bandwidth:
// 138 GB at 2.039 TB/s, 14.8 tokens/s.
TEST(Plan, SaysWhatTheModelCardsMachineAllows) {
  const Plan plan = MakePlan(Llama70B(), On("transformers-A100", 1)).value();
  EXPECT_NEAR(plan.one_sequence.limit, 2.039e12 / 137.43e9, 0.1);
  EXPECT_NEAR(plan.one_sequence.expected, 9.89, 0.5);
  EXPECT_EQ(plan.exit_layer, 10);
  ASSERT_EQ(plan.speculation.size(), 3u);
  EXPECT_EQ(plan.speculation[0].acceptance, 0.5);
  // What the card gained lies below what half of the drafts accepted would.
  EXPECT_GT(plan.speculation[0].speed.expected, 12.49);
  for (size_t i = 1; i < plan.speculation.size(); ++i) {
    EXPECT_GT(plan.speculation[i].speed.expected, plan.speculation[i - 1].speed.expected);
    EXPECT_GE(plan.speculation[i].num_drafts, plan.speculation[i - 1].num_drafts);
  }
}

TEST(Plan, MoreKvTokensFitOnMoreRanks) {
  int64_t last = 0;
  for (const int ranks : {2, 4, 8}) {
    const Plan plan = MakePlan(Llama70B(), On("8xH100", ranks)).value();
    EXPECT_GT(plan.kv_tokens_that_fit, 2 * last);
    last = plan.kv_tokens_that_fit;
  }
  // Nine tenths of 640 GB less 138 GB and workspaces, by 320 KiB.
  EXPECT_NEAR(static_cast<double>(last), (576e9 - 138.3e9) / (320 * 1024), 3000);
}

// 32 rows of 128256 floats, again where they come from several ranks, and drafts' distributions
// as far as they fit: 124 of 128256 floats in 64 MB.
TEST(Plan, DevicesKeepRowsToChooseFrom) {
  ModelConfig config = Llama70B();
  config.vocab_size = 128256;
  const double row = 4 * 128256;
  PlanOptions options = On("8xA100", 8);
  options.engine.draft_distribution_bytes = 64'000'000;
  const Plan plan = MakePlan(config, options).value();
  for (const RankMemory& rank : plan.ranks) {
    EXPECT_EQ(rank.choosing, (2 * 32 + 124) * row + (32 + 124) * 8);
  }
  options.num_ranks = 1;
  options.hardware = FindHardware("1xH200").value();
  EXPECT_EQ(MakePlan(config, options)->ranks[0].choosing, (32 + 124) * (row + 8));
}

TEST(Plan, CopiesOfKeysAndValuesAreCounted) {
  ModelConfig config = Llama70B();
  config.num_kv_heads = 4;
  EXPECT_EQ(MakePlan(config, On("8xA100", 4))->kv_bytes_per_token, 160 * 1024);
  EXPECT_EQ(MakePlan(config, On("8xA100", 8))->kv_bytes_per_token, 320 * 1024);
}

TEST(Plan, QuantisedWeightsTakeLess) {
  PlanOptions options = On("1xA100", 1);
  options.weights = kernels::WeightFormat::kInt4;
  const Plan plan = MakePlan(Llama70B(), options).value();
  EXPECT_TRUE(plan.fits());
  EXPECT_GT(plan.one_sequence.limit, 40);
}

TEST(Plan, RefusesWhatCannotBe) {
  const auto error = [](const PlanOptions& options) {
    return std::string(MakePlan(Llama70B(), options).status().message());
  };
  EXPECT_THAT(error(On("8xA100", 3)), HasSubstr("cannot be split over 3 ranks"));
  EXPECT_THAT(error(On("8xA100", 16)),
              HasSubstr("16 ranks need as many devices, and 8xA100 has 8"));
  PlanOptions options = On("8xA100", 8);
  options.engine.max_context = 5000;
  EXPECT_THAT(error(options), HasSubstr("max_context: 5000 is out of range"));
}

// Sixteen bits are sixteen bits.
TEST(Plan, F16TakesWhatBf16TakesAndIsForGpus) {
  PlanOptions options = On("8xA100", 8);
  const Plan bf16 = MakePlan(Llama70B(), options).value();
  options.weights = kernels::WeightFormat::kF16;
  const Plan f16 = MakePlan(Llama70B(), options).value();
  EXPECT_EQ(f16.ranks[3].total(), bf16.ranks[3].total());
  EXPECT_EQ(f16.kv_bytes_per_token, bf16.kv_bytes_per_token);
  EXPECT_EQ(f16.one_sequence.limit, bf16.one_sequence.limit);
  EXPECT_THAT(ToText(f16), HasSubstr("8 ranks, f16 weights"));
  options = On("cpu", 1);
  options.weights = kernels::WeightFormat::kF16;
  EXPECT_THAT(std::string(MakePlan(Llama70B(), options).status().message()),
              HasSubstr("f16 weights are for GPUs"));
}

TEST(Plan, IsPrinted) {
  const std::string text = ToText(MakePlan(Llama70B(), On("8xA100", 8)).value());
  for (const char* part :
       {"llama2-70b on 8 NVIDIA A100 80GB SXM", "8 ranks, bf16", "17.18 GB", "of 80.00 GB",
        "Weights of all ranks: 137.95 GB", "320.0 KiB a token", "hold 6553 tokens", "1 sequence ",
        "6 sequences, as many", "1, exit 10, 70% accepted, "}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  EXPECT_THAT(ToText(MakePlan(Llama70B(), On("1xA100", 1)).value()),
              HasSubstr("the model does not fit even without it"));
}

TEST(Plan, MemoryIsWhatAModelAllocates) {
  const auto checkpoint = Checkpoint::Open(DemoModel()).value();
  const ModelConfig& config = checkpoint->config();
  for (const kernels::WeightFormat weights : kernels::kCpuWeightFormats) {
    for (const int num_ranks : {1, 2, 4}) {
      PlanOptions options = On("cpu", num_ranks);
      options.weights = weights;
      const Plan plan = MakePlan(config, options).value();
      const auto ranks =
          kernels::CreateCpuRanks({weights, 1, ""}, num_ranks, std::chrono::minutes(1));
      for (int rank = 0; rank < num_ranks; ++rank) {
        const ModelShard shard = ShardOf(config, rank, num_ranks).value();
        kernels::PackedWeights& packed = *ranks[rank].backend->packed_weights();
        double bytes = static_cast<double>(packed.SizeBytes(HeadMatrix(config, shard).shape));
        for (int layer = 0; layer < config.num_layers; ++layer) {
          const LayerMatrices m = MatricesOfLayer(config, shard, layer);
          for (const MatrixSpec* matrix : {&m.qkv, &m.out, &m.gate_up, &m.down}) {
            bytes += static_cast<double>(packed.SizeBytes(matrix->shape));
          }
        }
        EXPECT_GE(bytes * 1.001, plan.ranks[rank].weights);
        EXPECT_LE(bytes, 1.06 * plan.ranks[rank].weights);  // panels and groups are padded
        EXPECT_EQ(
            static_cast<double>(LlamaModel::KvBlockBytes(config, shard, *ranks[rank].backend)),
            kernels::kKvBlockTokens * plan.ranks[rank].kv / static_cast<double>(plan.kv_tokens));
      }
    }
  }
}

}  // namespace
}  // namespace strata
