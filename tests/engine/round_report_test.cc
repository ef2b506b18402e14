// What rounds report of themselves on the running engine: parts sum up to the whole.

#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <memory>
#include <vector>

#include "engine/engine.h"
#include "engine/observer.h"
#include "tests/support/collecting_sink.h"
#include "tests/support/test_models.h"

namespace strata {
namespace {

// Checks each report. Called on the step thread; looked at when the engine has stopped.
class ReportChecker final : public EngineObserver {
 public:
  void OnRound(const RoundReport& report) override {
    CheckDrafts(report);
    CheckTimes(report);
    const bool plain = report.drafted_tokens == 0 || report.prefill_rows > 0;
    EXPECT_EQ(report.drafting.plain_seconds == 0, plain);
    num_measured_ += plain ? 0 : 1;
    const DraftReport& drafting = report.drafting;
    if (drafting.decision == DraftDecision::kNone) {
      EXPECT_EQ(drafting.expected_speedup, 0);
    } else if (drafting.decision == DraftDecision::kDraft) {
      EXPECT_GT(drafting.expected_speedup, 1);
    } else {
      EXPECT_EQ(drafting.expected_speedup, 1);
    }
    num_automatic_ += drafting.decision == DraftDecision::kNone ? 0 : 1;
  }
  void OnFirstToken(Duration) override {}
  void OnInterToken(Duration, int) override {}
  void OnFinished(const FinishedEvent&) override {}
  void OnAborted(const absl::Status&) override {}

  int num_measured() const { return num_measured_; }
  int num_automatic() const { return num_automatic_; }
  int num_exits() const { return static_cast<int>(exits_.size()); }

 private:
  void CheckDrafts(const RoundReport& report) {
    int drafted = 0, accepted = 0;
    for (const DraftTally& draft : report.drafts) {
      EXPECT_GT(draft.num_drafts, 0);
      EXPECT_LE(draft.num_accepted, draft.num_drafts);
      drafted += draft.num_drafts;
      accepted += draft.num_accepted;
      exits_[draft.exit_layer] += 1;
    }
    EXPECT_EQ(drafted, report.drafted_tokens);
    EXPECT_EQ(accepted, report.accepted_tokens);
  }

  void CheckTimes(const RoundReport& report) {
    EXPECT_EQ(report.draft_layers_time > Duration::zero(), report.draft_micro_steps > 0);
    EXPECT_LE(report.draft_layers_time, report.draft_time);
    EXPECT_GE(report.overhead_time, Duration::zero());
    if (report.emitted_tokens > 0) {
      EXPECT_GT(report.head_time, Duration::zero());
    }
    EXPECT_LE(report.draft_layers_time + report.head_time, report.draft_time + report.verify_time);
    EXPECT_EQ(report.draft_time + report.sweep_time + report.verify_time + report.probe_time,
              report.total_time);
  }

  int num_measured_ = 0;
  int num_automatic_ = 0;
  std::map<int, int> exits_;
};

GenerateRequest Request(Speculation::Mode mode, int exit_layer, int num_draft_tokens) {
  GenerateRequest request;
  request.prompt = "def main(argv):\n";
  request.sampling.temperature = 0;
  request.stopping.max_new_tokens = 40;
  request.stopping.ignore_eos = true;
  request.speculation.mode = mode;
  request.speculation.exit_layer = exit_layer;
  request.speculation.num_draft_tokens = num_draft_tokens;
  return request;
}

TEST(RoundReport, PartsSumUpToTheWhole) {
  ReportChecker checker;
  {
    const auto engine = OpenEngine(DemoModel(), {"", kernels::WeightFormat::kBF16, 2},
                                   TestEngineOptions(), &checker);
    std::vector<std::shared_ptr<CollectingSink>> sinks;
    for (const GenerateRequest& request :
         {Request(Speculation::Mode::kFixed, 8, 4), Request(Speculation::Mode::kFixed, 4, 2),
          Request(Speculation::Mode::kAuto, 0, 0), Request(Speculation::Mode::kOff, 0, 0)}) {
      sinks.push_back(std::make_shared<CollectingSink>());
      ASSERT_TRUE(engine->Submit(request, sinks.back()).ok());
    }
    for (const auto& sink : sinks) EXPECT_TRUE(sink->Wait().ok());
  }
  EXPECT_GT(checker.num_measured(), 0);
  EXPECT_GT(checker.num_automatic(), 0);
  EXPECT_GE(checker.num_exits(), 2);
}

}  // namespace
}  // namespace strata
