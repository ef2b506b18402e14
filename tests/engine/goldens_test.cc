// The model and the engine against reference outputs made with independent
// software (tests/goldens/README.md).

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "kernels/float_types.h"
#include "nlohmann/json.hpp"
#include "tests/support/collecting_sink.h"
#include "tests/support/test_models.h"

namespace strata {
namespace {

using nlohmann::json;

// Below this the reference's choice of token may rightly differ: the logits'
// tolerance is of this order.
constexpr double kSmallestMargin = 1e-3;

struct Golden {
  std::string name;
  std::string folder;
};

json ReadGolden(const Golden& golden) {
  std::ifstream file(STRATA_SOURCE_DIR "/tests/goldens/" + golden.name + ".json");
  return json::parse(file);
}

// How far an f32 logit may be from the reference's.
//
// A sum of k products in f32 in another order differs by about sqrt(k) * eps
// times the size of its terms (the rounding errors of k additions add up like a random walk). In
// one layer a residual passes four products (of lengths hidden, heads * head_dim, hidden,
// intermediate), whose errors add up alike over the layers: the final state is off by
// delta = eps * sqrt(sum of k) of its norm. The logit is its product with a row of the head, so by
// Cauchy-Schwarz it is off by at most delta * |state| * |row|. Nonlinearities amplify: 4 covers
// the derivative of SiLU (<= 1.1) and of softmax and norm. The reference prints five decimals.
double LogitTolerance(const Checkpoint& checkpoint) {
  const ModelConfig& config = checkpoint.config();
  const auto norm_of = [](const kernels::HostMatrix& m, int64_t row) {
    double sum = 0;
    for (int64_t i = 0; i < m.cols; ++i) {
      const double x = kernels::LoadAsF32(m.data, m.dtype, row * m.cols + i);
      sum += x * x;
    }
    return std::sqrt(sum);
  };
  const kernels::HostMatrix head = checkpoint.Tensor(
      config.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight");
  double largest_row = 0;
  for (int64_t row = 0; row < head.rows; ++row) {
    largest_row = std::max(largest_row, norm_of(head, row));
  }
  const double terms =
      static_cast<double>(config.num_layers) *
      (2.0 * config.hidden_size + config.num_heads * config.head_dim + config.intermediate_size);
  const double delta = std::numeric_limits<float>::epsilon() * std::sqrt(terms);
  // The normed state has the norm of the final norm's weight.
  const double state = norm_of(checkpoint.Tensor("model.norm.weight"), 0);
  return 4 * delta * state * largest_row + 5e-6;
}

// Those that compute in f32: every kernel set, and the best one over several ranks.
std::vector<TestDevice> F32Devices() {
  std::vector<TestDevice> devices = AllTestDevices();
  std::erase_if(devices,
                [](const TestDevice& d) { return d.weights != kernels::WeightFormat::kF32; });
  TestDevice over_ranks = devices.back();
  for (const int num_ranks : {2, 4}) {
    over_ranks.num_ranks = num_ranks;
    devices.push_back(over_ranks);
  }
  return devices;
}

class Goldens : public testing::TestWithParam<Golden> {
 protected:
  json golden_ = ReadGolden(GetParam());
};

void ExpectLogits(const json& expected, const float* logits, double tolerance) {
  for (const json& entry : expected) {
    const int id = entry[0];
    EXPECT_NEAR(logits[id], entry[1].get<double>(), tolerance) << "token " << id;
  }
}

std::vector<int32_t> LastRow(const std::vector<TokenId>& ids) {
  return {static_cast<int32_t>(ids.size()) - 1};
}

TEST_P(Goldens, LogitsAtEveryExitAndAtTheEndAreTheReferences) {
  const double tolerance = LogitTolerance(**Checkpoint::Open(GetParam().folder));
  for (const TestDevice& device : F32Devices()) {
    SCOPED_TRACE(NameOf(device));
    const std::unique_ptr<TpGroup> model = OpenGroup(GetParam().folder, device);
    for (const json& entry : golden_["logits"]) {
      const std::vector<TokenId> ids = entry["ids"];
      for (const auto& [exit, expected] : entry["exits"].items()) {
        SCOPED_TRACE("exit " + exit);
        model->Forward(OneSequence(ids, 0, {0, std::stoi(exit)}));
        ExpectLogits(expected, model->Logits(LastRow(ids), model->head()), tolerance);
      }
    }
  }
}

TEST_P(Goldens, HiddenNormsAfterEachLayerAreTheReferences) {
  const TestModel test = OpenModel(GetParam().folder, {"generic", kernels::WeightFormat::kF32, 1});
  for (const json& entry : golden_["logits"]) {
    const std::vector<TokenId> ids = entry["ids"];
    const std::vector<double> norms = entry["norms"];
    ASSERT_EQ(static_cast<int>(norms.size()), test.model->config().num_layers);
    for (int layer = 1; layer <= static_cast<int>(norms.size()); ++layer) {
      test.model->Forward(OneSequence(ids, 0, {0, layer}));
      const double expected = norms[layer - 1];
      EXPECT_NEAR(test.model->HiddenNorm(LastRow(ids)[0]), expected, 1e-4 * expected)
          << "layer " << layer;
    }
  }
}

GenerateRequest GreedyRequest(const std::vector<TokenId>& prompt, int max_new_tokens) {
  GenerateRequest request;
  request.prompt = prompt;
  request.sampling.temperature = 0;
  request.stopping.max_new_tokens = max_new_tokens;
  return request;
}

TEST_P(Goldens, GreedyTokensAreTheReferencesWhereMarginsAllow) {
  for (const TestDevice& device : F32Devices()) {
    SCOPED_TRACE(NameOf(device));
    const auto engine = OpenEngine(GetParam().folder, device, TestEngineOptions());
    for (const json& entry : golden_["greedy"]) {
      const std::vector<TokenId> expected = entry["tokens"];
      const std::vector<double> margins = entry["margins"];
      const CollectedSample sample =
          Generate(*engine, GreedyRequest(entry["ids"], static_cast<int>(expected.size())));
      for (size_t i = 0; i < expected.size() && margins[i] >= kSmallestMargin; ++i) {
        ASSERT_LT(i, sample.token_ids.size());
        ASSERT_EQ(sample.token_ids[i], expected[i]) << "position " << i;
      }
    }
  }
}

// bf16 rounds weights' partners to 8 bits, so small margins may flip: agreement is reported, and
// required where the reference is sure. Each position is scored on the reference's own prefix.
TEST_P(Goldens, Bf16AgreesWhereMarginsAreLarge) {
  for (const TestDevice& device : AllTestDevices()) {
    if (device.weights != kernels::WeightFormat::kBF16) continue;
    const auto engine = OpenEngine(GetParam().folder, device, TestEngineOptions());
    int sure = 0, sure_equal = 0, all = 0, all_equal = 0;
    for (const json& entry : golden_["greedy"]) {
      const std::vector<TokenId> prompt = entry["ids"];
      const std::vector<TokenId> expected = entry["tokens"];
      const std::vector<double> margins = entry["margins"];
      std::vector<TokenId> whole = prompt;
      whole.insert(whole.end(), expected.begin(), expected.end());
      GenerateRequest request = GreedyRequest(whole, 0);
      request.output.prompt_logprobs = true;
      const CollectedSample sample = Generate(*engine, request);
      for (size_t i = 0; i < expected.size(); ++i) {
        const bool equal = sample.prompt_logprobs[prompt.size() - 1 + i].is_greedy;
        ++all;
        all_equal += equal;
        sure += margins[i] > 0.5;
        sure_equal += margins[i] > 0.5 && equal;
      }
    }
    std::printf("%s %s: greedy agreement %d of %d, with margin over 0.5 %d of %d\n",
                GetParam().name.c_str(), NameOf(device).c_str(), all_equal, all, sure_equal, sure);
    EXPECT_GE(sure_equal, 0.97 * sure) << NameOf(device);
  }
}

// Reads per-round counts off the deltas of one request: the first delta is the prefill's.
struct Rounds {
  std::vector<int> accepted;
  std::vector<int> committed;
};
Rounds RoundsOf(const CollectedSample& sample) {
  Rounds rounds;
  for (size_t i = 1; i < sample.deltas.size(); ++i) {
    if (sample.deltas[i].token_ids.empty()) continue;
    rounds.accepted.push_back(sample.deltas[i].num_accepted_drafts);
    rounds.committed.push_back(static_cast<int>(sample.deltas[i].token_ids.size()));
  }
  return rounds;
}

// Margins of the greedy trace with the same prompt; a trace's draft margins are not known, so a
// round is compared as long as the target's margins allow.
std::vector<double> MarginsFor(const json& golden, const std::vector<TokenId>& prompt) {
  for (const json& entry : golden["greedy"]) {
    if (entry["ids"].get<std::vector<TokenId>>() == prompt) return entry["margins"];
  }
  return {};
}

TEST_P(Goldens, SpeculativeRoundsAreTheReferencesWhereMarginsAllow) {
  for (const TestDevice& device : F32Devices()) {
    SCOPED_TRACE(NameOf(device));
    const auto engine = OpenEngine(GetParam().folder, device, TestEngineOptions());
    size_t compared = 0;
    for (const json& entry : golden_["rounds"]) {
      const std::vector<TokenId> prompt = entry["ids"];
      const std::vector<TokenId> expected = entry["tokens"];
      const std::vector<int> drafted = entry["drafted"], accepted = entry["accepted"];
      const std::vector<double> margins = MarginsFor(golden_, prompt);
      GenerateRequest request = GreedyRequest(prompt, entry["max_new_tokens"]);
      request.speculation.mode = Speculation::Mode::kFixed;
      request.speculation.exit_layer = entry["exit_layer"];
      request.speculation.num_draft_tokens = entry["num_draft_tokens"];
      request.output.stream_drafts = true;
      const CollectedSample sample = Generate(*engine, request);
      const Rounds rounds = RoundsOf(sample);
      size_t position = 1;  // of the next token; the first is the prefill's
      for (size_t r = 0; r < drafted.size(); ++r, ++compared) {
        const size_t end = position + static_cast<size_t>(accepted[r]) + 1;
        bool sure = true;
        for (size_t i = 0; i < std::min(end, margins.size()); ++i) {
          sure = sure && margins[i] >= kSmallestMargin;
        }
        if (!sure) break;
        ASSERT_LT(r, rounds.accepted.size());
        ASSERT_EQ(rounds.accepted[r], accepted[r]) << "round " << r;
        ASSERT_LT(r, sample.drafts.size());
        ASSERT_EQ(static_cast<int>(sample.drafts[r].token_ids.size()), drafted[r]) << "round " << r;
        for (size_t i = position; i < std::min(end, expected.size()); ++i) {
          ASSERT_EQ(sample.token_ids[i], expected[i]) << "token " << i;
        }
        position = end;
      }
    }
    EXPECT_GT(compared, golden_["rounds"].size()) << "too few rounds had margins to compare";
  }
}

TEST_P(Goldens, ScoresAreTheReferences) {
  const auto engine =
      OpenEngine(GetParam().folder, {"", kernels::WeightFormat::kF32, 2}, TestEngineOptions());
  for (const json& entry : golden_["score"]) {
    std::vector<TokenId> ids = entry["context"];
    const size_t context = ids.size();
    const std::vector<TokenId> continuation = entry["continuation"];
    ids.insert(ids.end(), continuation.begin(), continuation.end());
    GenerateRequest request = GreedyRequest(ids, 0);
    request.output.prompt_logprobs = true;
    const CollectedSample sample = Generate(*engine, request);
    ASSERT_EQ(sample.prompt_logprobs.size(), ids.size() - 1);
    for (size_t i = 0; i < continuation.size(); ++i) {
      const TokenLogprobs& score = sample.prompt_logprobs[context - 1 + i];
      EXPECT_EQ(score.token_id, continuation[i]);
      EXPECT_NEAR(score.logprob, entry["logprobs"][i].get<double>(), 1e-3);
      EXPECT_EQ(score.is_greedy, entry["is_greedy"][i].get<bool>());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Goldens,
                         testing::Values(Golden{"demo", DemoModel()},
                                         Golden{"tiny-llama3", TinyModel()}),
                         [](const auto& info) {
                           std::string name = info.param.name;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace strata
