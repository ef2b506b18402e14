#include "engine/policy/row_depths.h"

#include <algorithm>

namespace strata {
namespace {

constexpr std::array<Sampler::Mode, kNumSamplerModes> kModes = {
    Sampler::Mode::kGreedy, Sampler::Mode::kSeeded, Sampler::Mode::kUnseeded};

}  // namespace

void RowDepths::Clear() {
  groups_.clear();
  rows_ = context_tokens_ = 0;
  rows_by_mode_ = {};
}

void RowDepths::Add(int exit_layer, Sampler::Mode mode, double rows, double context_tokens) {
  rows_ += rows;
  context_tokens_ += context_tokens;
  rows_by_mode_[static_cast<int>(mode)] += rows;
  auto group = groups_.begin();
  while (group != groups_.end() && group->exit_layer < exit_layer) ++group;
  if (group == groups_.end() || group->exit_layer > exit_layer) {
    group = groups_.insert(group, {exit_layer, 0, 0});
  }
  group->rows += rows;
  group->context_tokens += context_tokens;
}

void RowDepths::AddMicroStep(double scale, double head_share, Work& work) const {
  work.AddPass();
  work.AddHead(scale * rows_, head_share);
  double rows = rows_, context_tokens = context_tokens_;
  int layer = 0;
  for (const Group& group : groups_) {
    work.AddLayers(group.exit_layer - layer, scale * rows, scale * context_tokens);
    layer = group.exit_layer;
    rows -= group.rows;
    context_tokens -= group.context_tokens;
  }
  for (const Sampler::Mode mode : kModes) {
    work.AddChoices(mode, scale * rows_by_mode_[static_cast<int>(mode)]);
  }
}

void SweepRows::AddSweep(const RowDepths& drafts, double scale, Work& work) const {
  work.AddPass();
  work.AddHead(logit_rows + scale * drafts.rows_, 1);
  double layer_rows = rows, context = context_tokens;
  int layer = 0;
  for (const RowDepths::Group& group : drafts.groups_) {
    work.AddLayers(group.exit_layer - layer, layer_rows, context);
    layer = group.exit_layer;
    layer_rows += scale * group.rows;
    context += scale * group.context_tokens;
  }
  work.AddLayers(num_layers - layer, layer_rows, context);
  for (const Sampler::Mode mode : kModes) {
    const int i = static_cast<int>(mode);
    work.AddChoices(mode, choices[i] + scale * drafts.rows_by_mode_[i]);
  }
}

}  // namespace strata
