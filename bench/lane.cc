#include "bench/lane.h"

#include <chrono>
#include <utility>
#include <variant>

#include "engine/observer.h"
#include "engine/request_validation.h"
#include "engine/status_macros.h"

namespace strata::bench {
namespace {

const std::vector<TokenId>& PromptOf(const GenerateRequest& request) {
  return std::get<std::vector<TokenId>>(request.prompt);
}

}  // namespace

// ---- ModelPart

ModelPart::ModelPart(Model* whole, int part, int num_parts)
    : whole_(whole), limits_(whole->limits()) {
  limits_.num_kv_blocks /= num_parts;
  first_block_ = part * limits_.num_kv_blocks;
}

void ModelPart::Forward(const ForwardBatch& batch) {
  batch_ = batch;
  for (int32_t& block : batch_.block_tables) block += first_block_;
  whole_->Forward(batch_);
}

// ---- Lane

void Tally::Add(const Tally& more) {
  seconds += more.seconds;
  tokens += more.tokens;
  drafted += more.drafted;
  accepted += more.accepted;
  sequence_rounds += more.sequence_rounds;
}

// Sees rounds, and the end of any text.
class Lane::Watcher final : public EngineObserver, public TokenSink {
 public:
  void OnRound(const RoundReport& report) override {
    num_sequences = report.num_sequences;
    prefill_rows = report.prefill_rows;
    round = {0, report.emitted_tokens, report.drafted_tokens, report.accepted_tokens,
             report.num_sequences};
  }
  void OnFirstToken(Duration) override {}
  void OnInterToken(Duration, int) override {}
  void OnFinished(const FinishedEvent&) override {}
  void OnAborted(const absl::Status&) override {}

  void OnStarted(int, const StartedEvent&) override {}
  void OnDelta(int, const Delta&) override {}
  void OnDraft(int, DraftEvent) override {}
  void OnPromptLogprobs(int, std::vector<TokenLogprobs>) override {}
  void OnFinished(int, FinishedEvent) override { finished = true; }
  void OnDone(absl::Status status) override {
    if (!absl::IsCancelled(status)) failure.Update(status);
  }

  // Of the last round.
  Tally round;
  int num_sequences = 0;
  int prefill_rows = 0;
  bool finished = false;
  absl::Status failure;
};

Lane::Lane(Model* model, int part, int num_parts, const Tokenizer* tokenizer,
           const SpeculationPolicy* policy, const CostProfile& costs)
    : model_(model, part, num_parts), watcher_(std::make_shared<Watcher>()) {
  StepLoop::Config loop;
  loop.scheduler.max_batch_tokens = model_.limits().max_rows;
  loop.scheduler.max_sequences = model_.limits().max_rows;
  loop.scheduler.max_prefill_chunk = model_.limits().max_rows;
  loop.prefix_cache = false;  // prompts are computed each time
  loop.max_context = model_.limits().max_context;
  loop.drafting.num_layers = model_.config().num_layers;
  loop.drafting.exit_layers = policy->exit_layers();
  loop_ =
      std::make_unique<StepLoop>(loop, &model_, tokenizer, policy, costs, watcher_.get(), &clock_);
}

Lane::~Lane() { loop_->AbortAll(absl::CancelledError("the measurement is over")); }

absl::Status Lane::Begin(std::vector<GenerateRequest> requests) {
  for (const GenerateRequest& request : requests) {
    RETURN_IF_ERROR(ValidateRequest(request, model_.config()));
    RETURN_IF_ERROR(
        ValidatePrompt(PromptOf(request), request, model_.config(), model_.limits().max_context));
  }
  requests_ = std::move(requests);
  num_generations_ = 0;
  ended_ = true;
  tally_ = {};
  return absl::OkStatus();
}

void Lane::AcceptRequests() {
  loop_->AbortAll(absl::CancelledError("all texts begin anew"));
  for (const GenerateRequest& request : requests_) {
    auto state = std::make_shared<RequestState>();
    state->id = next_id_++;
    state->params = request;
    state->prompt = PromptOf(request);
    state->sink = watcher_;
    state->submitted = clock_.Now();
    loop_->Accept(std::move(state));
  }
  watcher_->finished = false;
  ended_ = false;
}

absl::Status Lane::Step() {
  if (ended_) AcceptRequests();
  const Instant start = clock_.Now();
  loop_->Step();
  const Duration time = clock_.Now() - start;
  const bool all_decode =
      watcher_->prefill_rows == 0 && watcher_->num_sequences == static_cast<int>(requests_.size());
  if (all_decode) {
    watcher_->round.seconds = std::chrono::duration<double>(time).count();
    tally_.Add(watcher_->round);
  }
  if (watcher_->finished) {
    ended_ = true;
    ++num_generations_;
  }
  return watcher_->failure;
}

}  // namespace strata::bench
