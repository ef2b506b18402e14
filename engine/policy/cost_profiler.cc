#include "engine/policy/cost_profiler.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <span>
#include <vector>

namespace strata {
namespace {

// Every point is measured up to so many times, of which the fastest counts, and takes no more than
// one of so many parts of the time for its like.
constexpr int kMostRepetitions = 8;
constexpr double kShareOfAPoint = 12;
constexpr int kContextTokens = 512;

// Of the time for all points, the first measurement of each; the others are left out. But never
// those of so few rows: whether drafts pay is a matter of what a few more rows cost.
constexpr double kShareOfFirstPass = 0.5;
constexpr int kFewRows = 8;

double Seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

// What a point takes at most, by its own measurement and the others': more rows take no less, and
// no more than as many passes of fewer.
double MostSeconds(const std::vector<CostProfile::Point>& points, size_t index) {
  double most = points[index].seconds;
  for (size_t i = 0; i < points.size(); ++i) {
    const double passes = i < index ? points[index].rows / points[i].rows : 1;
    most = std::min(most, passes * points[i].seconds);
  }
  return most;
}

class Profiler {
 public:
  Profiler(Model& model, const Clock& clock, Duration budget)
      : model_(model), clock_(clock), budget_(Seconds(budget)) {}

  CostProfile Run();

 private:
  int num_layers() const { return model_.config().num_layers; }

  template <typename Action>
  double Time(Action action) {
    model_.Synchronize();
    const Instant start = clock_.Now();
    action();
    model_.Synchronize();
    return Seconds(clock_.Now() - start);
  }

  void FillRows(int rows, int context_tokens, LayerRange layers);
  // A pass of `rows` through as many layers as measurements may take; others each time, so that
  // weights come from memory as they do in a round.
  double TimeLayers(int rows, int context_tokens);
  double TimeHead(int rows);
  double TimeOneLayer();
  void ChooseSegment();
  // Of several in a row, as a server's rounds follow each other: caches hold what they can.
  template <typename TimeRows>
  double Fastest(double budget_seconds, TimeRows time_rows);
  // Measures all points, by ascending rows, as long as there is time.
  template <typename TimeRows>
  std::vector<CostProfile::Point> Sweep(int most_rows, double budget_seconds, TimeRows time_rows);
  void ProfileChoices(CostProfile& profile);
  void ProfileChoicesOnDevice(CostProfile& profile);

  Model& model_;
  const Clock& clock_;
  const double budget_;  // seconds
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

double Profiler::TimeOneLayer() {
  FillRows(1, 0, {0, 1});
  return Fastest(budget_ / kShareOfAPoint,
                 [this] { return Time([this] { model_.Forward(batch_); }); });
}

// As many layers at once as leave time for all points; at least one.
void Profiler::ChooseSegment() {
  // Fills the rows of the exit cache that later passes begin from.
  FillRows(std::min(model_.limits().max_rows, model_.limits().max_exit_rows), 0, {0, 1});
  batch_.rows.resize(std::min<size_t>(batch_.rows.size(), 8));
  model_.Forward(batch_);
  one_layer_ = TimeOneLayer();
  const double share = budget_ / 32;
  segment_ = one_layer_ * num_layers() <= share
                 ? num_layers()
                 : std::clamp(static_cast<int>(share / one_layer_), 1, num_layers());
}

template <typename TimeRows>
double Profiler::Fastest(double budget_seconds, TimeRows time_rows) {
  double fastest = time_rows();
  double total = fastest;
  for (int i = 1; i < kMostRepetitions && total + fastest < budget_seconds; ++i) {
    const double seconds = time_rows();
    total += seconds;
    fastest = std::min(fastest, seconds);
  }
  return fastest;
}

template <typename TimeRows>
std::vector<CostProfile::Point> Profiler::Sweep(int most_rows, double budget_seconds,
                                                TimeRows time_rows) {
  std::vector<CostProfile::Point> points;
  double total = 0;
  const auto measure = [&](CostProfile::Point& point) {
    const Instant before = clock_.Now();
    point.seconds = std::min(point.seconds, time_rows(static_cast<int>(point.rows)));
    total += Seconds(clock_.Now() - before);
  };
  for (const int rows : Work::kRowCounts) {
    points.push_back({static_cast<double>(rows), std::numeric_limits<double>::infinity()});
    const double expected = rows > 1 ? MostSeconds(points, points.size() - 1) : 0;
    const bool in_time = rows <= kFewRows || total + expected <= kShareOfFirstPass * budget_seconds;
    if (rows > most_rows || !in_time) {
      points.pop_back();
      break;
    }
    measure(points.back());
  }
  // Again by turns: what else runs for a while disturbs one measurement of many points, not all of
  // one.
  for (int pass = 2; pass <= kMostRepetitions; ++pass) {
    for (size_t i = 0; i < points.size(); ++i) {
      const double expected = MostSeconds(points, i);
      if (pass * expected > budget_seconds / kShareOfAPoint) break;
      if (total + expected > budget_seconds) return points;
      measure(points[i]);
    }
  }
  return points;
}

void Profiler::ProfileChoices(CostProfile& profile) {
  if (model_.choosing() != nullptr) return ProfileChoicesOnDevice(profile);
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
    const auto choose = [&] {
      const Logits row(logits.values);
      if (mode == Sampler::Mode::kUnseeded) {
        SampleFrom(sampler.Warp(row, scratch), 0.5);
      } else {
        sampler.Choose(row, 1, scratch);
      }
    };
    profile.choose[static_cast<int>(mode)] =
        Fastest(budget_ / kShareOfAPoint, [&] { return Time(choose); });
  }
}

// A device chooses from as many rows at once as it has logits of: a row's share of that.
void Profiler::ProfileChoicesOnDevice(CostProfile& profile) {
  ChoosingModel& model = *model_.choosing();
  const kernels::LogitRows logits = model.LogitsOnDevice(std::vector<int32_t>{0}, model_.head());
  const int count = model_.limits().max_logit_rows;
  const std::vector<double> uniforms(2, 0.5);
  std::vector<kernels::TargetChoice> choices;
  for (int i = 0; i < count; ++i) choices.push_back({0, i, 0, 0, i});
  for (const auto& [mode, on_device] :
       {std::pair(Sampler::Mode::kGreedy, kernels::ChoiceMode::kGreedy),
        std::pair(Sampler::Mode::kSeeded, kernels::ChoiceMode::kSeeded),
        std::pair(Sampler::Mode::kUnseeded, kernels::ChoiceMode::kUnseeded)}) {
    kernels::ChoiceSequence sequence;
    sequence.mode = on_device;
    sequence.temperature = 0.8f;
    sequence.uniforms = {0, 2};
    const std::vector<kernels::ChoiceSequence> sequences(count, sequence);
    kernels::ChoiceRound round;
    round.sequences = sequences;
    round.uniforms = uniforms;
    round.num_targets = count;
    model.chooser().Begin(round);
    profile.choose[static_cast<int>(mode)] =
        Fastest(budget_ / kShareOfAPoint,
                [&] { return Time([&] { model.chooser().Verify(logits, choices); }); }) /
        count;
  }
}

CostProfile Profiler::Run() {
  CostProfile profile;
  ChooseSegment();
  const ModelLimits& limits = model_.limits();
  const int most_rows = std::min(
      {limits.max_rows, limits.max_exit_rows, limits.num_kv_blocks * kernels::kKvBlockTokens});
  profile.head = Sweep(std::min(limits.max_logit_rows, most_rows), 0.2 * budget_,
                       [this](int rows) { return TimeHead(rows); });
  profile.layer = Sweep(most_rows, 0.6 * budget_, [this](int rows) { return TimeLayers(rows, 0); });
  one_layer_ = std::min(one_layer_, TimeOneLayer());  // in another moment
  const double plain = profile.layer.front().seconds;
  // Of a pass through few layers, what is not theirs can be told apart from it.
  const double layer = segment_ > 1 ? (plain - one_layer_) / (segment_ - 1) : one_layer_;
  profile.pass = std::clamp(one_layer_ - layer, 0.0, 0.5 * one_layer_);
  for (CostProfile::Point& point : profile.layer) {
    point.seconds = std::max(0.0, point.seconds - profile.pass) / segment_;
  }
  const int context = std::min(
      {kContextTokens, limits.max_context - 1, limits.num_kv_blocks * kernels::kKvBlockTokens - 1});
  if (context > 0) {
    const double behind = Fastest(budget_ / kShareOfAPoint, [&] { return TimeLayers(1, context); });
    profile.context_token = std::max(0.0, behind - plain) / segment_ / context;
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
