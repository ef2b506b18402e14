#include "engine/policy/cost_profiler.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <span>
#include <vector>

namespace strata {
namespace {

// Every point is measured up to so many times, of which the fastest counts.
constexpr int kMostRepetitions = 5;
constexpr int kContextTokens = 512;

double Seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

class Profiler {
 public:
  Profiler(Model& model, const Clock& clock, Duration budget)
      : model_(model), clock_(clock), end_(clock.Now() + budget), budget_(budget) {}

  CostProfile Run();

 private:
  struct Measured {
    int rows = 0;
    double seconds = std::numeric_limits<double>::infinity();
  };

  int num_layers() const { return model_.config().num_layers; }
  bool time_left() const { return clock_.Now() < end_; }

  template <typename Action>
  double Time(Action action) {
    const Instant start = clock_.Now();
    action();
    return Seconds(clock_.Now() - start);
  }

  void FillRows(int rows, int context_tokens, LayerRange layers);
  // A pass of `rows` through as many layers as measurements may take; others each time, so that
  // weights come from memory as they do in a round.
  double TimeLayers(int rows, int context_tokens);
  double TimeHead(int rows);
  void ChooseSegment();
  // Measures one point after the other, as long as there is time.
  template <typename TimeRows>
  std::vector<Measured> Sweep(int most_rows, TimeRows time_rows);
  void ProfileChoices(CostProfile& profile);

  Model& model_;
  const Clock& clock_;
  const Instant end_;
  const Duration budget_;
  ForwardBatch batch_;
  std::vector<int32_t> row_indices_;
  int segment_ = 1;  // layers
  int next_layer_ = 0;
  double one_layer_ = 0;  // seconds of a pass of one row through one layer
};

// Each row is a sequence of its own. Blocks hold nothing yet, so any do.
void Profiler::FillRows(int rows, int context_tokens, LayerRange layers) {
  const int num_blocks = model_.limits().num_kv_blocks;
  const int blocks_each = context_tokens / kernels::kKvBlockTokens + 1;
  const bool whole = layers.begin == 0 && layers.end == num_layers();
  batch_.Clear();
  batch_.max_blocks_per_sequence = blocks_each;
  batch_.block_tables.clear();
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < blocks_each; ++j) batch_.block_tables.push_back((i + j) % num_blocks);
    // Rows that share a block write to places of their own.
    const int position = context_tokens > 0 ? context_tokens : i / num_blocks;
    batch_.rows.push_back({0, position, i, layers, whole ? -1 : i});
  }
}

double Profiler::TimeLayers(int rows, int context_tokens) {
  if (next_layer_ + segment_ > num_layers()) next_layer_ = 0;
  FillRows(rows, context_tokens, {next_layer_, next_layer_ + segment_});
  next_layer_ += segment_;
  return Time([this] { model_.Forward(batch_); });
}

double Profiler::TimeHead(int rows) {
  row_indices_.resize(rows);
  for (int i = 0; i < rows; ++i) row_indices_[i] = i;
  return Time([this] { model_.Logits(row_indices_, model_.head()); });
}

// As many layers at once as leave time for all points; at least one.
void Profiler::ChooseSegment() {
  // Fills the rows of the exit cache that later passes begin from.
  FillRows(std::min(model_.limits().max_rows, model_.limits().max_exit_rows), 0, {0, 1});
  batch_.rows.resize(std::min<size_t>(batch_.rows.size(), 8));
  model_.Forward(batch_);
  FillRows(1, 0, {0, 1});
  one_layer_ = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 3; ++i) {
    one_layer_ = std::min(one_layer_, Time([this] { model_.Forward(batch_); }));
  }
  const double share = Seconds(budget_) / 16;
  segment_ = one_layer_ * num_layers() <= share
                 ? num_layers()
                 : std::clamp(static_cast<int>(share / one_layer_), 1, num_layers());
}

template <typename TimeRows>
std::vector<Profiler::Measured> Profiler::Sweep(int most_rows, TimeRows time_rows) {
  std::vector<Measured> points;
  for (const int rows : Work::kRowCounts) {
    if (rows > most_rows) break;
    if (!points.empty()) {
      // A pass of more rows takes at most so much longer.
      const double expected = points.back().seconds * rows / points.back().rows;
      if (clock_.Now() +
              std::chrono::duration_cast<Duration>(std::chrono::duration<double>(2 * expected)) >
          end_) {
        break;
      }
    }
    Measured& point = points.emplace_back();
    point.rows = rows;
    point.seconds = time_rows(rows);
  }
  for (int i = 1; i < kMostRepetitions; ++i) {
    for (Measured& point : points) {
      if (!time_left()) return points;
      point.seconds = std::min(point.seconds, time_rows(point.rows));
    }
  }
  return points;
}

void Profiler::ProfileChoices(CostProfile& profile) {
  FillRows(1, 0, {0, num_layers()});
  const Logits logits({model_.Logits(std::vector<int32_t>{0}, model_.head()),
                       static_cast<size_t>(model_.config().vocab_size)});
  if (!logits.scan.finite) return;
  SamplerScratch scratch;
  for (const Sampler::Mode mode :
       {Sampler::Mode::kGreedy, Sampler::Mode::kSeeded, Sampler::Mode::kUnseeded}) {
    SamplingParams params;
    params.temperature = mode == Sampler::Mode::kGreedy ? 0.0f : 0.8f;
    if (mode == Sampler::Mode::kSeeded) params.seed = 1;
    const Sampler sampler(params, 0, {});
    double seconds = std::numeric_limits<double>::infinity();
    for (int i = 0; i < 3; ++i) {
      seconds = std::min(seconds, Time([&] {
                           const Logits row(logits.values);
                           if (mode == Sampler::Mode::kUnseeded) {
                             SampleFrom(sampler.Warp(row, scratch), 0.5);
                           } else {
                             sampler.Choose(row, 1, scratch);
                           }
                         }));
    }
    profile.choose[static_cast<int>(mode)] = seconds;
  }
}

CostProfile Profiler::Run() {
  CostProfile profile;
  ChooseSegment();
  const ModelLimits& limits = model_.limits();
  const int most_rows = std::min(
      {limits.max_rows, limits.max_exit_rows, limits.num_kv_blocks * kernels::kKvBlockTokens});
  const double plain = TimeLayers(1, 0);
  // Of a pass through few layers, what is not theirs can be told apart from it.
  const double layer = segment_ > 1 ? (plain - one_layer_) / (segment_ - 1) : one_layer_;
  profile.pass = std::clamp(one_layer_ - layer, 0.0, 0.5 * one_layer_);
  for (const Measured& point :
       Sweep(std::min(limits.max_logit_rows, most_rows), [this](int n) { return TimeHead(n); })) {
    profile.head.push_back({static_cast<double>(point.rows), point.seconds});
  }
  for (const Measured& point : Sweep(most_rows, [this](int n) { return TimeLayers(n, 0); })) {
    profile.layer.push_back(
        {static_cast<double>(point.rows), std::max(0.0, point.seconds - profile.pass) / segment_});
  }
  const int context = std::min(
      {kContextTokens, limits.max_context - 1, limits.num_kv_blocks * kernels::kKvBlockTokens - 1});
  if (context > 0) {
    const double behind = std::min(TimeLayers(1, context), TimeLayers(1, context));
    profile.context_token =
        std::max(0.0, (behind - profile.pass) / segment_ - profile.layer.front().seconds) / context;
  }
  ProfileChoices(profile);
  model_.ResetCounters();
  return profile;
}

}  // namespace

CostProfile ProfileCosts(Model& model, const Clock& clock, Duration budget) {
  return Profiler(model, clock, budget).Run();
}

}  // namespace strata
