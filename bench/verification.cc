#include "bench/verification.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "bench/opened_model.h"
#include "bench/speculative.h"
#include "engine/model/model.h"
#include "engine/proposal_store.h"
#include "engine/sampler.h"
#include "engine/status_macros.h"
#include "engine/verification.h"

namespace strata::bench {
namespace {

constexpr int kVerdictsPerBlock = 64;
constexpr int kBlocksPerPoint = 400;
constexpr int64_t kStoreBytes = int64_t{64} << 20;

// A block of drafts, and what the target says after each of them.
struct Block {
  std::vector<Proposal> proposals;
  std::vector<Distribution> targets;  // one more
};

struct Verdict {
  int num_accepted = 0;
  TokenId token = 0;
};

Verdict Verify(const Block& block, Verification scheme, UniformSource& uniforms) {
  BlockVerifier verifier(scheme);
  size_t row = 0;
  bool goes_on = true;
  for (; goes_on; ++row) {
    const Proposal* proposal = row < block.proposals.size() ? &block.proposals[row] : nullptr;
    goes_on = verifier.AddRow(block.targets[row], proposal, uniforms);
  }
  return {verifier.num_accepted(), verifier.token()};
}

// One text that a model samples by drafting and verifying, without an engine.
class SampledText {
 public:
  SampledText(Model* model, const SamplingParams& sampling, std::vector<TokenId> prompt,
              uint64_t seed)
      : model_(*model), sampler_(sampling, 0, prompt), tokens_(std::move(prompt)), uniforms_(seed) {
    batch_.block_tables.resize(model_.limits().num_kv_blocks);
    std::iota(batch_.block_tables.begin(), batch_.block_tables.end(), 0);
    batch_.max_blocks_per_sequence = model_.limits().num_kv_blocks;
    for (int i = 0; i < num_computed(); ++i) AddRow(tokens_[i], i, 0, num_layers(), -1);
    Forward();
  }

  int num_tokens() const { return static_cast<int>(tokens_.size()); }

  // The next block, valid until the one after it.
  Block Draft(int exit_layer, int num_drafts) {
    store_.Clear();
    Block block;
    TokenId token = tokens_.back();
    for (int i = 0; i < num_drafts; ++i) {
      AddRow(token, num_computed() + i, 0, exit_layer, i);
      Forward();
      const Distribution q = Keep(0);
      token = SampleFrom(q, uniforms_.Next());
      block.proposals.push_back({token, q});
    }
    AddRow(token, num_computed() + num_drafts, 0, num_layers(), -1);
    for (int i = 0; i < num_drafts; ++i) {
      AddRow(0, num_computed() + i, exit_layer, num_layers(), i);
    }
    Forward();
    for (int i = 0; i < num_drafts; ++i) block.targets.push_back(Keep(1 + i));
    block.targets.push_back(Keep(0));
    return block;
  }

  void Commit(const Block& block) {
    const Verdict verdict = Verify(block, Verification::kBlock, uniforms_);
    for (int i = 0; i < verdict.num_accepted; ++i) tokens_.push_back(block.proposals[i].token);
    tokens_.push_back(verdict.token);
  }

 private:
  int num_layers() const { return model_.config().num_layers; }
  int num_computed() const { return num_tokens() - 1; }

  void AddRow(TokenId token, int position, int begin, int end, int32_t exit_cache_row) {
    batch_.rows.push_back({token, position, 0, {begin, end}, exit_cache_row});
  }
  void Forward() {
    model_.Forward(batch_);
    batch_.rows.clear();
  }
  Distribution Keep(int32_t row) {
    const int32_t rows[] = {row};
    const size_t width = model_.head().num_tokens;
    return *store_.Keep(
        sampler_.Warp(Logits({model_.Logits(rows, model_.head()), width}), scratch_), {});
  }

  Model& model_;
  const Sampler sampler_;
  SamplerScratch scratch_;
  std::vector<TokenId> tokens_;
  CounterRng uniforms_;
  ProposalStore store_{kStoreBytes};
  ForwardBatch batch_;
};

ModelLimits LimitsFor(const ModelConfig& config) {
  ModelLimits limits;
  limits.max_context = std::min(config.max_position_embeddings, 1024);
  limits.num_kv_blocks = limits.max_context / kernels::kKvBlockTokens;
  return limits;
}

// Drafts accepted a block.
struct Accepted {
  double by_block = 0;
  double by_token = 0;
};

Accepted MeasurePoint(Model& model, const SamplingParams& sampling,
                      const std::vector<TokenId>& prompt, int exit_layer, int num_drafts) {
  Accepted sum;
  CounterRng verdicts(7);
  uint64_t seed = 0;
  std::unique_ptr<SampledText> text;
  for (int i = 0; i < kBlocksPerPoint; ++i) {
    if (!text || text->num_tokens() + num_drafts + 1 > model.limits().max_context / 2) {
      text = std::make_unique<SampledText>(&model, sampling, prompt, ++seed);
    }
    const Block block = text->Draft(exit_layer, num_drafts);
    for (int j = 0; j < kVerdictsPerBlock; ++j) {
      sum.by_block += Verify(block, Verification::kBlock, verdicts).num_accepted;
      sum.by_token += Verify(block, Verification::kToken, verdicts).num_accepted;
    }
    text->Commit(block);
  }
  constexpr double kVerdicts = static_cast<double>(kBlocksPerPoint) * kVerdictsPerBlock;
  return {sum.by_block / kVerdicts, sum.by_token / kVerdicts};
}

}  // namespace

absl::Status MeasureVerification(const Options& options, Report& report) {
  ASSIGN_OR_RETURN(const OpenedModel opened, OpenModel(options, LimitsFor));
  report.model = opened.checkpoint->config().name;
  report.backend = opened.backend;
  const std::vector<TokenId> prompt = opened.tokenizer->Encode(options.prompt, true);
  if (static_cast<int>(prompt.size()) > opened.model->limits().max_context / 4) {
    return absl::InvalidArgumentError(
        fmt::format("the prompt has {} tokens; for verification it may have {}", prompt.size(),
                    opened.model->limits().max_context / 4));
  }
  SamplingParams sampling;
  if (options.temperature > 0) sampling.temperature = options.temperature;
  std::vector<int> exits = options.exit_layers;
  if (exits.empty()) exits = DefaultExitLayers(opened.model->config().num_layers);
  for (const int exit_layer : exits) {
    for (const int num_drafts : options.draft_tokens) {
      const Accepted accepted =
          MeasurePoint(*opened.model, sampling, prompt, exit_layer, num_drafts);
      const std::string suffix = fmt::format("e{}_k{}", exit_layer, num_drafts);
      report.rows.push_back(
          {.name = "block_" + suffix, .value = accepted.by_block, .unit = "drafts"});
      report.rows.push_back(
          {.name = "token_" + suffix, .value = accepted.by_token, .unit = "drafts"});
    }
  }
  return absl::OkStatus();
}

}  // namespace strata::bench
