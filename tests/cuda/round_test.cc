// Rounds whose tokens an emulated GPU chooses, beside the same rounds with the engine's own sampler
// and verification: the same tokens, counts and random numbers.

#include "engine/round.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/clock.h"
#include "kernels/cuda/cuda_backend.h"
#include "tests/cuda_emulator/emulator.h"
#include "tests/support/collecting_sink.h"
#include "tests/support/fake_model.h"

namespace strata {
namespace {

using cuda_emulator::Schedule;
using kernels::Buffer;
using kernels::DType;

constexpr int kNumLayers = 4;
constexpr int kMaxLogitRows = 5;  // so that a sequence's rows are verified in several calls
constexpr int kMaxDrafts = 4;

// Every token is a letter.
class LetterTokenizer final : public Tokenizer {
 public:
  explicit LetterTokenizer(int vocab_size) : vocab_size_(vocab_size) {}
  std::vector<TokenId> Encode(std::string_view, bool) const override { return {}; }
  std::string_view TokenBytes(TokenId) const override { return "x"; }
  std::string_view Piece(TokenId) const override { return "x"; }
  bool IsSpecial(TokenId) const override { return false; }
  bool StripsLeadingSpace() const override { return false; }
  std::optional<TokenId> bos_token_id() const override { return std::nullopt; }
  int vocab_size() const override { return vocab_size_; }

 private:
  const int vocab_size_;
};

// The logits after `token` at `position`, by the target or by an exit.
using MakeLogits = std::function<std::vector<float>(TokenId token, int position, bool is_target)>;

// A model that looks its logits up. With a backend, that one chooses.
class TableModel final : public FakeModel, private ChoosingModel {
 public:
  // The logits that the backend gets come in `num_parts`, as from so many ranks.
  TableModel(int vocab_size, MakeLogits make, kernels::Backend* backend, int64_t proposal_bytes,
             int num_parts)
      : make_(std::move(make)), backend_(backend), num_parts_(num_parts) {
    config_.vocab_size = vocab_size;
    config_.num_layers = kNumLayers;
    limits_.max_exit_rows = 64;
    limits_.max_logit_rows = kMaxLogitRows;
    limits_.proposal_bytes = proposal_bytes;
    head_.num_tokens = vocab_size;
    if (backend == nullptr) return;
    chooser_ = backend->CreateChooser(
        {vocab_size, kMaxLogitRows, limits_.max_exit_rows, limits_.proposal_bytes, num_parts});
    logits_ = backend->Allocate(sizeof(float) * kMaxLogitRows * (vocab_size + num_parts));
  }

  void Forward(const ForwardBatch& batch) override {
    rows_ = batch.rows;
    for (ForwardRow& row : rows_) {
      if (row.draft_slot >= 0) row.token_id = chooser_->Read().drafts[row.draft_slot].token;
    }
  }
  const float* Logits(std::span<const int32_t> rows, const Head& head) override {
    values_.clear();
    for (const int32_t index : rows) {
      const ForwardRow& row = rows_[index];
      const std::vector<float> all =
          make_(row.token_id, row.position, row.layers.end == kNumLayers);
      for (int i = 0; i < head.num_tokens; ++i) {
        values_.push_back(all[head.token_ids.empty() ? i : head.token_ids[i]]);
      }
    }
    return values_.data();
  }
  const float* ExitLogits(std::span<const int32_t>, const Head&) override { return nullptr; }
  absl::StatusOr<Head> SelectTokens(std::vector<int32_t> ids) override {
    Head head;
    head.num_tokens = static_cast<int>(ids.size());
    if (backend_ != nullptr) {
      head.ids_on_device = backend_->Allocate(ids.size() * sizeof(int32_t));
      backend_->CopyToDevice(head.ids_on_device.data(), ids.data(), ids.size() * sizeof(int32_t));
    }
    head.token_ids = std::move(ids);
    return head;
  }
  ChoosingModel* choosing() override { return chooser_ != nullptr ? this : nullptr; }

 private:
  kernels::Chooser& chooser() override { return *chooser_; }
  kernels::LogitRows LogitsOnDevice(std::span<const int32_t> rows, const Head& head) override {
    Logits(rows, head);
    const auto* ids = static_cast<const int32_t*>(head.ids_on_device.data());
    const auto count = static_cast<int64_t>(rows.size());
    const kernels::TensorView whole = logits_.View(DType::kF32, count, head.num_tokens);
    if (num_parts_ > 1) return {CopyParts(count, head), ids, part_widths_};
    backend_->CopyToDevice(whole.data, values_.data(), values_.size() * sizeof(float));
    return {whole, ids};
  }
  // Cuts values_ into parts of about as many tokens of the vocabulary.
  kernels::TensorView CopyParts(int64_t count, const Head& head) {
    std::vector<int> ends = {0};  // columns
    for (int part = 0; part < num_parts_; ++part) {
      int column = ends.back();
      const int end = config_.vocab_size * (part + 1) / num_parts_;
      while (column < head.num_tokens &&
             (head.token_ids.empty() ? column : head.token_ids[column]) < end) {
        ++column;
      }
      ends.push_back(column);
    }
    part_widths_.clear();
    for (int part = 0; part < num_parts_; ++part) {
      part_widths_.push_back(ends[part + 1] - ends[part]);
    }
    const int widest = *std::max_element(part_widths_.begin(), part_widths_.end());
    const kernels::TensorView all = logits_.View(DType::kF32, num_parts_ * count, widest);
    for (int part = 0; part < num_parts_; ++part) {
      std::vector<float> columns;
      for (int64_t row = 0; row < count; ++row) {
        const float* const values = values_.data() + row * head.num_tokens;
        columns.insert(columns.end(), values + ends[part], values + ends[part + 1]);
      }
      backend_->CopyToDevice(all.Rows(part * count, count).data, columns.data(),
                             columns.size() * sizeof(float));
    }
    return all;
  }
  const float* ReadLogits(const kernels::LogitRows& logits) override {
    return backend_->ReadBack(logits.values);
  }

  const MakeLogits make_;
  kernels::Backend* const backend_;
  const int num_parts_;
  std::unique_ptr<kernels::Chooser> chooser_;
  Buffer logits_;
  std::vector<ForwardRow> rows_;
  std::vector<float> values_;
  std::vector<int32_t> part_widths_;
};

// Asks for confidences, and ends a row's drafting by them; or does neither.
class CautiousPolicy final : public DraftingPolicy {
 public:
  explicit CautiousPolicy(bool asks) : asks_(asks) {}
  std::span<const WantedProbe> ChooseProbes() override { return {}; }
  bool NeedsConfidence(const Sequence&) const override { return asks_; }
  void ReviewDrafts(int, std::span<DraftingRow> rows) override {
    for (DraftingRow& row : rows) {
      row.keep_drafting = !asks_ || row.confidence > 0.05f;
      confidences.push_back(row.confidence);
    }
  }
  void OnVerified(const DraftOutcome& outcome) override {
    confidences.insert(confidences.end(), outcome.confidences.begin(), outcome.confidences.end());
  }
  void OnProbed(const ProbeOutcome&) override {}

  std::vector<float> confidences;

 private:
  const bool asks_;
};

struct World {
  int vocab_size = 100;
  MakeLogits make;
  Verification verification = Verification::kBlock;
  int64_t proposal_bytes = 1 << 20;
  std::vector<TokenId> draft_tokens;  // empty: all
  bool has_policy = false;
  bool asks_for_confidences = true;
  int num_parts = 1;
  int num_rounds = 6;
};

// What came of some rounds.
struct Outcome {
  std::vector<std::vector<TokenId>> tokens;
  std::vector<int> drafted, accepted;
  std::vector<double> next_uniforms;
  std::vector<float> logprobs, confidences;
  std::vector<uint64_t> failed;
  std::vector<int> draft_events;
};

std::unique_ptr<Sequence> MakeSequence(const GenerateRequest& params, uint64_t id,
                                       const Tokenizer& tokenizer) {
  auto request = std::make_shared<RequestState>();
  request->id = id;
  request->params = params;
  request->prompt = std::get<std::vector<TokenId>>(params.prompt);
  request->eos_token_ids = {3, 5};
  request->sink = std::make_shared<CollectingSink>();
  auto sequence = std::make_unique<Sequence>(request, static_cast<int>(id % 2), &tokenizer, 1000,
                                             /*rng_key=*/id);
  sequence->exit_layer = 1 + static_cast<int>(id % 3);
  return sequence;
}

Outcome RunRounds(const World& world, const std::vector<GenerateRequest>& requests,
                  kernels::Backend* backend) {
  TableModel model(world.vocab_size, world.make, backend, world.proposal_bytes, world.num_parts);
  const SteadyClock clock;
  RoundExecutor executor({world.verification, world.proposal_bytes}, &model, &clock);
  Head draft_head;
  if (!world.draft_tokens.empty()) {
    draft_head = *model.SelectTokens(world.draft_tokens);
    executor.set_draft_head(&draft_head);
  }
  CautiousPolicy policy(world.asks_for_confidences);
  if (world.has_policy) executor.set_drafting_policy(&policy);
  const LetterTokenizer tokenizer(world.vocab_size);
  std::vector<std::unique_ptr<Sequence>> sequences;
  for (const GenerateRequest& request : requests) {
    sequences.push_back(MakeSequence(request, sequences.size(), tokenizer));
  }
  Outcome outcome;
  for (int round = 0; round < world.num_rounds; ++round) {
    StepPlan plan;
    for (const auto& sequence : sequences) {
      if (sequence->finish_reason()) continue;
      const int num_drafts =
          sequence->decoding() ? (round + sequence->exit_layer) % (kMaxDrafts + 1) : 0;
      plan.entries.push_back({sequence.get(), sequence->num_pending(), num_drafts});
    }
    if (plan.empty()) break;
    const RoundExecutor::Result result = executor.Run(plan);
    EXPECT_EQ(executor.exit_rows_used(), 0);
    outcome.drafted.push_back(result.report.drafted_tokens);
    outcome.accepted.push_back(result.report.accepted_tokens);
    for (const uint64_t id : result.failed) {
      outcome.failed.push_back(id);
      sequences[id]->Finish(FinishReason::kEos);
    }
  }
  for (const auto& sequence : sequences) {
    outcome.tokens.push_back(sequence->tokens());
    // One that has failed draws no more.
    const bool has_failed =
        std::count(outcome.failed.begin(), outcome.failed.end(), sequence->request()->id) > 0;
    outcome.next_uniforms.push_back(has_failed ? 0 : sequence->uniforms().Peek(0));
    for (const TokenLogprobs& logprobs : sequence->delta().logprobs) {
      outcome.logprobs.push_back(logprobs.logprob);
    }
    auto& sink = static_cast<CollectingSink&>(*sequence->request()->sink);
    outcome.draft_events.push_back(
        static_cast<int>(sink.sample(sequence->sample_index()).drafts.size()));
  }
  outcome.confidences = policy.confidences;
  return outcome;
}

void ExpectSame(const Outcome& device, const Outcome& host) {
  EXPECT_EQ(device.tokens, host.tokens);
  EXPECT_EQ(device.drafted, host.drafted);
  EXPECT_EQ(device.accepted, host.accepted);
  EXPECT_EQ(device.next_uniforms, host.next_uniforms);
  EXPECT_EQ(device.logprobs, host.logprobs);
  EXPECT_EQ(device.failed, host.failed);
  EXPECT_EQ(device.draft_events, host.draft_events);
  ASSERT_EQ(device.confidences.size(), host.confidences.size());
  for (size_t i = 0; i < host.confidences.size(); ++i) {
    EXPECT_NEAR(device.confidences[i], host.confidences[i], 1e-6) << i;
  }
}

// Normal logits of this spread; an exit's differ from the target's by half as much. `grid` is
// not 0: only multiples of it, so that there are ties.
MakeLogits RandomLogits(int vocab_size, float spread, float grid = 0) {
  return [=](TokenId token, int position, bool is_target) {
    std::mt19937_64 random(static_cast<uint64_t>(token) * 1000 + static_cast<uint64_t>(position));
    std::normal_distribution<float> normal(0, spread);
    std::vector<float> logits(vocab_size);
    for (float& logit : logits) logit = normal(random);
    std::mt19937_64 other(random());
    std::normal_distribution<float> off(0, spread / 2);
    for (float& logit : logits) {
      if (!is_target) logit += off(other);
      if (grid > 0) logit = std::round(logit / grid) * grid;
    }
    return logits;
  };
}

// All ways of sampling beside each other.
std::vector<GenerateRequest> ManyRequests(int vocab_size, bool seeded) {
  std::vector<SamplingParams> ways(9);
  ways[0].temperature = 0;
  ways[1].temperature = 0.7f;
  ways[2].top_k = 5;
  ways[3].top_p = 0.8f;
  ways[4].min_p = 0.05f;
  ways[5].temperature = 1.3f;
  ways[5].top_p = 0.9f;
  ways[5].top_k = 20;
  ways[5].min_p = 0.01f;
  ways[6].repetition_penalty = 1.3f;
  ways[7].presence_penalty = 1.5f;
  ways[7].frequency_penalty = 0.5f;
  for (TokenId id = 0; id < 30; id += 2) ways[7].logit_bias.push_back({(id * 7) % vocab_size, 2});
  ways[8].temperature = 0;
  ways[8].repetition_penalty = 1.5f;
  ways[8].frequency_penalty = 1.5f;
  ways[8].logit_bias = {{1, 1.0f}, {9, 3.0f}, {1, 1.5f}};
  std::vector<GenerateRequest> requests;
  for (SamplingParams& way : ways) {
    if (seeded) way.seed = 77 + requests.size();
    GenerateRequest& request = requests.emplace_back();
    request.sampling = way;
    std::vector<TokenId> prompt;
    for (size_t i = 0; i < 3 + requests.size(); ++i) {
      prompt.push_back(static_cast<TokenId>((i * i + 11 * requests.size()) % vocab_size));
    }
    request.prompt = prompt;
    request.stopping.max_new_tokens = 100;
    request.stopping.ignore_eos = requests.size() % 2 == 0;
    request.stopping.stop_token_ids = {7, 8};
  }
  return requests;
}

class DeviceRounds : public testing::Test {
 protected:
  void Compare(const World& world, const std::vector<GenerateRequest>& requests,
               Schedule schedule = Schedule::kForward) {
    cuda_emulator::Configure({.schedule = schedule, .seed = 3, .lazy_streams = true});
    const auto backend = kernels::CreateCudaBackend({kernels::WeightFormat::kF32, 0, true});
    device_ = RunRounds(world, requests, backend.get());
    host_ = RunRounds(world, requests, nullptr);
    ExpectSame(device_, host_);
    int accepted = 0;
    for (const int count : host_.accepted) accepted += count;
    EXPECT_GT(accepted, 0);
  }

  Outcome device_, host_;
};

class ScheduledDeviceRounds : public DeviceRounds, public testing::WithParamInterface<Schedule> {};

TEST_P(ScheduledDeviceRounds, ChooseAndVerifyAsTheEngine) {
  World world;
  world.make = RandomLogits(world.vocab_size, 2);
  for (const bool seeded : {false, true}) {
    Compare(world, ManyRequests(world.vocab_size, seeded), GetParam());
  }
}

INSTANTIATE_TEST_SUITE_P(All, ScheduledDeviceRounds,
                         testing::Values(Schedule::kForward, Schedule::kReverse,
                                         Schedule::kRandom));

TEST_F(DeviceRounds, VerifyTokenByTokenAsTheEngine) {
  World world;
  world.make = RandomLogits(world.vocab_size, 2);
  world.verification = Verification::kToken;
  Compare(world, ManyRequests(world.vocab_size, false));
}

// The lowest ids of equals are the likeliest, also where top-k and top-p cut among them.
TEST_F(DeviceRounds, TakeTiesInOrder) {
  World world;
  world.vocab_size = 700;
  world.make = RandomLogits(world.vocab_size, 1, 0.5f);
  world.num_rounds = 4;
  for (const bool seeded : {false, true}) Compare(world, ManyRequests(world.vocab_size, seeded));
}

// The same two tokens are likely everywhere, so that a round's drafts repeat each other.
TEST_F(DeviceRounds, PenaliseWhatTheRoundHasDrafted) {
  World world;
  const MakeLogits noise = RandomLogits(world.vocab_size, 0.3f);
  world.make = [=](TokenId token, int position, bool is_target) {
    std::vector<float> logits = noise(token, position, is_target);
    for (const TokenId id : {40, 50}) logits[id] += 9;
    return logits;
  };
  for (const bool seeded : {false, true}) {
    std::vector<GenerateRequest> requests = ManyRequests(world.vocab_size, seeded);
    requests.erase(requests.begin(), requests.begin() + 6);
    for (uint64_t seed = 1; seed <= 9; ++seed) {
      GenerateRequest again = requests[0];
      if (seeded) again.sampling.seed = seed;
      requests.push_back(again);
    }
    Compare(world, requests);
  }
}

TEST_F(DeviceRounds, DraftFromSomeTokens) {
  World world;
  world.make = RandomLogits(world.vocab_size, 2);
  for (TokenId id = 1; id < world.vocab_size; id += 1 + id % 3) world.draft_tokens.push_back(id);
  for (const bool seeded : {false, true}) Compare(world, ManyRequests(world.vocab_size, seeded));
}

// As ranks gather them; then drafts are from some tokens, none of which the second has.
TEST_F(DeviceRounds, ChooseFromParts) {
  World world;
  world.make = RandomLogits(world.vocab_size, 2);
  world.num_parts = 3;
  Compare(world, ManyRequests(world.vocab_size, /*seeded=*/true));
  for (TokenId id = 1; id < world.vocab_size; id += id == 31 ? 40 : 2) {
    world.draft_tokens.push_back(id);
  }
  Compare(world, ManyRequests(world.vocab_size, /*seeded=*/false));
}

TEST_F(DeviceRounds, DraftNoFurtherThanProposalsFind) {
  World world;
  world.make = RandomLogits(world.vocab_size, 2);
  // The engine keeps as many of those that are not truncated.
  world.proposal_bytes = 9 * 4 * world.vocab_size;
  std::vector<GenerateRequest> requests(4);
  for (GenerateRequest& request : requests) {
    request.prompt = std::vector<TokenId>{static_cast<TokenId>(&request - requests.data())};
    request.stopping.max_new_tokens = 100;
  }
  Compare(world, requests);
  for (const int drafted : device_.drafted) EXPECT_LE(drafted, 9);
}

TEST_F(DeviceRounds, TellWhatPoliciesSinksAndLogprobsAskFor) {
  World world;
  world.make = RandomLogits(world.vocab_size, 3);
  world.has_policy = true;
  std::vector<GenerateRequest> requests = ManyRequests(world.vocab_size, false);
  requests[1].output.logprobs = 2;
  requests[4].output.logprobs = 0;
  requests[4].output.prompt_logprobs = true;
  requests[5].output.stream_drafts = true;
  Compare(world, requests);
  EXPECT_GT(device_.logprobs.size(), 0u);
  EXPECT_GT(device_.confidences.size(), 0u);
}

// They take an exponential of each logit.
TEST(HostRounds, ComputeConfidencesOnlyForWhoAsks) {
  World world;
  world.make = RandomLogits(world.vocab_size, 3);
  world.has_policy = true;
  const std::vector<GenerateRequest> requests = ManyRequests(world.vocab_size, false);
  for (const bool asks : {true, false}) {
    world.asks_for_confidences = asks;
    const Outcome outcome = RunRounds(world, requests, nullptr);
    ASSERT_GT(outcome.confidences.size(), 0u);
    for (const float confidence : outcome.confidences) EXPECT_EQ(confidence > 0, asks);
  }
}

// Logits that are no numbers, of a draft or of a target, end their request and no other.
TEST_F(DeviceRounds, FailWhereLogitsAreNoNumbers) {
  World world;
  const MakeLogits good = RandomLogits(world.vocab_size, 2);
  world.num_rounds = 3;
  const std::vector<GenerateRequest> requests = ManyRequests(world.vocab_size, false);
  for (const bool in_target : {false, true}) {
    for (const float bad : {NAN, INFINITY, 2e30f}) {
      world.make = [=](TokenId token, int position, bool is_target) {
        std::vector<float> logits = good(token, position, is_target);
        if (position == 11 && is_target == in_target && token % 2 == 0) logits[60] = bad;
        return logits;
      };
      Compare(world, requests);
      EXPECT_GT(device_.failed.size(), 0u);
      EXPECT_LT(device_.failed.size(), requests.size());
    }
  }
}

// Llama 3's vocabulary.
TEST_F(DeviceRounds, ChooseFromManyTokens) {
  World world;
  world.vocab_size = 128256;
  world.num_rounds = 2;
  world.proposal_bytes = 64 << 20;
  world.make = RandomLogits(world.vocab_size, 2.5f);
  for (const bool seeded : {false, true}) {
    std::vector<GenerateRequest> requests = ManyRequests(world.vocab_size, seeded);
    requests.erase(requests.begin() + 6, requests.end());
    Compare(world, requests);
  }
}

}  // namespace
}  // namespace strata
