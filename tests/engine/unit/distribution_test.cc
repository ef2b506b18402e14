// Invariant I2 on the running engine: what unseeded requests generate, counted,
// against probabilities that the test computes itself from the model's logits.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <numeric>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "tests/engine/unit/chi_square.h"
#include "tests/engine/unit/manual_clock.h"
#include "tests/engine/unit/timed_engine.h"
#include "tests/support/collecting_sink.h"
#include "tests/support/test_models.h"
#include "tests/support/token_counts_file.h"

namespace strata {
namespace {

constexpr int kVocabSize = 1505;  // the tiny model's
const std::vector<TokenId> kPrompt = {17, 5, 900};
// Texts are compared by their first tokens: the prefill's own, then drafted ones and those that
// replace or follow drafts.
constexpr int kComparedTokens = 4;
constexpr int kGeneratedTokens = 6;
constexpr int kSamplesPerRequest = 16;
const TestDevice kDevice{"", kernels::WeightFormat::kF32, 1};

struct Setting {
  std::string name;
  int exit_layer = 0;
  int num_draft_tokens = 0;  // 0: off
  SamplingParams sampling;
  int num_requests = 0;
  enum class DraftTokens { kAll, kEven, kLearnt } draft_tokens = DraftTokens::kAll;
  Verification verification = Verification::kBlock;
  int64_t draft_distribution_bytes = EngineOptions{}.draft_distribution_bytes;
  bool automatic = false;  // exits and drafts are the server's choice
};
void PrintTo(const Setting& setting, std::ostream* out) { *out << setting.name; }

// The tiny model's logits lie close together: only a low temperature makes the probabilities differ
// enough that wrong ones show, and not just a wrong choice of candidates.
SamplingParams TopK() {
  SamplingParams sampling;
  sampling.temperature = 0.2f;
  sampling.top_k = 4;
  return sampling;
}

// Nearly even odds.
SamplingParams Hot() {
  SamplingParams sampling = TopK();
  sampling.temperature = 1.3f;
  return sampling;
}

SamplingParams TopP() {
  SamplingParams sampling;
  sampling.temperature = 0.1f;
  sampling.top_p = 0.9f;
  return sampling;
}

// Few candidates whose penalties matter: a token that was generated is less likely again.
SamplingParams Penalties() {
  SamplingParams sampling = Hot();
  sampling.top_k = 3;
  sampling.logit_bias = {{11, 30.0f}, {12, 30.0f}, {13, 30.0f}};
  sampling.presence_penalty = 0.9f;
  sampling.frequency_penalty = 0.6f;
  sampling.repetition_penalty = 1.05f;
  return sampling;
}

// Three tokens share the mass, of which the even ones are one.
SamplingParams Biased() {
  SamplingParams sampling = Hot();
  sampling.logit_bias = {{11, 30.0f}, {12, 30.0f}, {13, 30.0f}};
  return sampling;
}

// The same of all tokens, which are not looked through for the most likely ones: the others have
// e^-46 of the mass.
SamplingParams Untruncated() {
  SamplingParams sampling = Biased();
  for (auto& [id, bias] : sampling.logit_bias) bias *= 2;
  sampling.top_k = 0;
  return sampling;
}

constexpr int kLearntTokens = 16;
// Of four tokens each take 32, so in a round of 16 sequences every other one drafts, once.
constexpr int64_t kFewBytes = 256;

// With drafts that are often accepted, so that some are made.
Setting Automatic() {
  Setting setting{"Auto_Biased", 0, 0, Biased(), 600};
  setting.automatic = true;
  return setting;
}

std::vector<Setting> Settings() {
  using DraftTokens = Setting::DraftTokens;
  return {{"Off", 0, 0, TopK(), 600},
          {"Exit1_K1", 1, 1, TopK(), 600},
          {"Hot_Exit3_K4", 3, 4, Hot(), 600},
          {"Exit3_K2", 3, 2, TopK(), 1250},
          {"Exit2_K4", 2, 4, TopK(), 600},
          {"Exit5_K3", 5, 3, TopK(), 600},
          {"TopP_Exit3_K3", 3, 3, TopP(), 600},
          {"Penalties_Exit4_K4", 4, 4, Penalties(), 600},
          {"Exit5_K3_EvenTokens", 5, 3, TopK(), 600, DraftTokens::kEven},
          {"Exit4_K4_Biased_EvenTokens", 4, 4, Biased(), 600, DraftTokens::kEven},
          {"Exit3_K2_LearntTokens", 3, 2, TopK(), 600, DraftTokens::kLearnt},
          {"Untruncated_Exit5_K4", 5, 4, Untruncated(), 600},
          {"Untruncated_Exit4_K2_EvenTokens", 4, 2, Untruncated(), 600, DraftTokens::kEven},
          {"Exit5_K3_LittleMemory", 5, 3, TopK(), 600, DraftTokens::kAll, Verification::kBlock,
           kFewBytes},
          {"TokenWise_Exit3_K4", 3, 4, TopK(), 600, DraftTokens::kAll, Verification::kToken},
          {"TokenWise_Penalties_Exit4_K4", 4, 4, Penalties(), 600, DraftTokens::kAll,
           Verification::kToken},
          Automatic()};
}

// The probability of each next token that sampling leaves, in double precision.
std::map<TokenId, double> NextTokens(const SamplingParams& sampling, const float* logits,
                                     int vocab_size, const std::vector<TokenId>& generated) {
  std::vector<double> scores(logits, logits + vocab_size);
  for (const auto& [id, bias] : sampling.logit_bias) scores[id] += bias;
  std::map<TokenId, int> seen;
  for (const TokenId id : kPrompt) seen[id];
  for (const TokenId id : generated) ++seen[id];
  for (const auto& [id, count] : seen) {
    const double repetition = sampling.repetition_penalty;
    scores[id] = scores[id] > 0 ? scores[id] / repetition : scores[id] * repetition;
    if (count == 0) continue;
    scores[id] -= sampling.presence_penalty + sampling.frequency_penalty * count;
  }
  std::vector<TokenId> order(vocab_size);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](TokenId a, TokenId b) {
    return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
  });
  if (sampling.top_k > 0) order.resize(sampling.top_k);
  const auto weight = [&](TokenId id) {
    return std::exp((scores[id] - scores[order.front()]) / sampling.temperature);
  };
  const auto mass = [&] {
    double sum = 0;
    for (const TokenId id : order) sum += weight(id);
    return sum;
  };
  if (sampling.top_p < 1) {
    const double wanted = sampling.top_p * mass();
    double sum = 0;
    size_t kept = 0;
    while (sum < wanted) sum += weight(order[kept++]);
    order.resize(kept);
  }
  const double total = mass();
  std::map<TokenId, double> next;
  for (const TokenId id : order) next[id] = weight(id) / total;
  return next;
}

using Texts = std::map<std::vector<TokenId>, double>;

// The probability of every text of kComparedTokens. Those of less than 1e-7 together with all their
// continuations are left out: they are expected less than once in all tests.
class ExpectedTexts {
 public:
  explicit ExpectedTexts(const SamplingParams& sampling)
      : sampling_(sampling), test_(OpenModel(TinyModel(), kDevice)) {
    Extend({}, 1);
  }
  const Texts& texts() const { return texts_; }

 private:
  void Extend(const std::vector<TokenId>& text, double probability) {
    if (probability < 1e-7) return;
    if (static_cast<int>(text.size()) == kComparedTokens) {
      texts_[text] = probability;
      return;
    }
    std::vector<TokenId> ids = kPrompt;
    ids.insert(ids.end(), text.begin(), text.end());
    const ModelConfig& config = test_.model->config();
    test_.model->Forward(OneSequence(ids, 0, {0, config.num_layers}));
    const std::vector<int32_t> last = {static_cast<int32_t>(ids.size()) - 1};
    const auto next = NextTokens(sampling_, test_.model->Logits(last), config.vocab_size, text);
    for (const auto& [id, conditional] : next) {
      std::vector<TokenId> longer = text;
      longer.push_back(id);
      Extend(longer, probability * conditional);
    }
  }

  const SamplingParams sampling_;
  const TestModel test_;
  Texts texts_;
};

class Distributions : public testing::TestWithParam<Setting> {
 protected:
  // Runs the setting's requests, all submitted at once, and counts their texts.
  void Generate();
  void Count(const CollectedSample& sample);

  std::map<std::vector<TokenId>, int64_t> counts_;
  int64_t num_samples_ = 0;
  int64_t rounds_ = 0, drafted_ = 0, accepted_ = 0, emitted_ = 0;
};

void Distributions::Generate() {
  const Setting& setting = GetParam();
  EngineOptions options = TestEngineOptions();
  options.max_queue = setting.num_requests * kSamplesPerRequest;
  options.verification = setting.verification;
  options.draft_distribution_bytes = setting.draft_distribution_bytes;
  std::vector<TokenId> even;
  for (TokenId id = 0; id < kVocabSize; id += 2) even.push_back(id);
  const TokenCountsFile even_tokens(even);
  if (setting.draft_tokens == Setting::DraftTokens::kEven) {
    options.draft_vocabulary_size = static_cast<int>(even.size());
    options.draft_token_counts = even_tokens.path();
  } else if (setting.draft_tokens == Setting::DraftTokens::kLearnt) {
    options.draft_vocabulary_size = kLearntTokens;
  }
  // So that whether `auto` drafts does not depend on the machine.
  ManualClock clock;
  const auto engine = setting.automatic ? OpenTimedByLayers(options, &clock)
                                        : OpenEngine(TinyModel(), kDevice, options);
  GenerateRequest request;
  request.prompt = kPrompt;
  request.sampling = setting.sampling;
  request.stopping.max_new_tokens = kGeneratedTokens;
  request.stopping.ignore_eos = true;
  if (setting.automatic) {
    request.speculation.mode = Speculation::Mode::kAuto;
  } else if (setting.num_draft_tokens > 0) {
    request.speculation.mode = Speculation::Mode::kFixed;
    request.speculation.exit_layer = setting.exit_layer;
    request.speculation.num_draft_tokens = setting.num_draft_tokens;
  }
  std::vector<std::shared_ptr<CollectingSink>> sinks;
  for (int i = 0; i < setting.num_requests; ++i) {
    // Samples of one request and whole requests must be independent of each other alike.
    request.sampling.num_samples = i % 2 == 0 ? kSamplesPerRequest : kSamplesPerRequest / 2;
    sinks.push_back(std::make_shared<CollectingSink>());
    ASSERT_TRUE(engine->Submit(request, sinks.back()).ok());
    num_samples_ += request.sampling.num_samples;
  }
  for (int i = 0; i < setting.num_requests; ++i) {
    ASSERT_TRUE(sinks[i]->Wait().ok());
    const int samples = i % 2 == 0 ? kSamplesPerRequest : kSamplesPerRequest / 2;
    for (int j = 0; j < samples; ++j) Count(sinks[i]->sample(j));
  }
}

void Distributions::Count(const CollectedSample& sample) {
  const SpeculationStats& stats = sample.finished->speculation;
  ASSERT_EQ(static_cast<int>(sample.token_ids.size()), kGeneratedTokens);
  ASSERT_EQ(stats.emitted_tokens, kGeneratedTokens);
  ++counts_[{sample.token_ids.begin(), sample.token_ids.begin() + kComparedTokens}];
  rounds_ += stats.rounds;
  drafted_ += stats.drafted_tokens;
  accepted_ += stats.accepted_tokens;
  emitted_ += stats.emitted_tokens;
}

TEST_P(Distributions, OfGeneratedTextsAreTheTargets) {
  ASSERT_NO_FATAL_FAILURE(Generate());
  const ExpectedTexts expected(GetParam().sampling);
  std::vector<std::pair<double, int64_t>> cells;
  int64_t counted = 0;
  for (const auto& [text, probability] : expected.texts()) {
    cells.emplace_back(probability, counts_[text]);
    counted += counts_[text];
  }
  EXPECT_EQ(counted, num_samples_) << "texts came that the target cannot generate";
  const ChiSquare chi_square = CompareCounts(cells);
  std::printf(
      "%lld samples, accepted %.2f of the drafts, chi-square %.1f with %d degrees, limit %.1f\n",
      static_cast<long long>(num_samples_),
      drafted_ > 0 ? static_cast<double>(accepted_) / static_cast<double>(drafted_) : 0.0,
      chi_square.statistic, chi_square.degrees_of_freedom, chi_square.Threshold());
  EXPECT_GT(chi_square.degrees_of_freedom, 30);
  // The engine draws its entropy from the system, so a right engine fails here too: once in a
  // million runs.
  EXPECT_LT(chi_square.statistic, chi_square.Threshold());

  // Every round, and the prefill is one, gives its accepted drafts and one token of the target's.
  EXPECT_EQ(emitted_, accepted_ + rounds_);
  if (GetParam().num_draft_tokens == 0 && !GetParam().automatic) {
    EXPECT_EQ(drafted_, 0);
    return;
  }
  // Both verdicts were tried.
  EXPECT_GT(drafted_, 100);
  EXPECT_GT(accepted_, drafted_ / 20);
  EXPECT_LT(accepted_, drafted_ - drafted_ / 20);
}

INSTANTIATE_TEST_SUITE_P(Engine, Distributions, testing::ValuesIn(Settings()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace strata
