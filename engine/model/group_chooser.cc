#include "engine/model/group_chooser.h"

#include <cstdint>

#include "engine/model/rank_threads.h"

namespace strata {
namespace {

using kernels::ChoiceRound;

template <typename T>
std::vector<T> Copy(std::span<const T> items) {
  return {items.begin(), items.end()};
}

// A round with what it refers to, for threads that may be left behind.
struct OwnedRound {
  explicit OwnedRound(const ChoiceRound& given)
      : round(given),
        sequences(Copy(given.sequences)),
        biases(Copy(given.biases)),
        counts(Copy(given.counts)),
        stops(Copy(given.stops)),
        uniforms(Copy(given.uniforms)) {
    round.sequences = sequences;
    round.biases = biases;
    round.counts = counts;
    round.stops = stops;
    round.uniforms = uniforms;
  }
  OwnedRound(const OwnedRound&) = delete;
  OwnedRound& operator=(const OwnedRound&) = delete;

  ChoiceRound round;
  const std::vector<kernels::ChoiceSequence> sequences;
  const std::vector<kernels::TokenBias> biases;
  const std::vector<kernels::TokenCount> counts;
  const std::vector<int32_t> stops;
  const std::vector<double> uniforms;
};

}  // namespace

int GroupChooser::num_proposals() const { return ranks_->front().model->chooser().num_proposals(); }

void GroupChooser::Begin(const ChoiceRound& round) {
  threads_->Run([ranks = ranks_, owned = std::make_shared<const OwnedRound>(round)](int rank) {
    (*ranks)[rank].model->chooser().Begin(owned->round);
  });
}

void GroupChooser::Draft(const kernels::LogitRows&, std::span<const kernels::DraftChoice> choices) {
  threads_->Run([ranks = ranks_, choices = Copy(choices)](int rank) {
    const RankChoice& own = (*ranks)[rank];
    own.model->chooser().Draft(own.logits, choices);
  });
}

void GroupChooser::Verify(const kernels::LogitRows&,
                          std::span<const kernels::TargetChoice> choices) {
  threads_->Run([ranks = ranks_, choices = Copy(choices)](int rank) {
    const RankChoice& own = (*ranks)[rank];
    own.model->chooser().Verify(own.logits, choices);
  });
}

kernels::ChosenTokens GroupChooser::Read() {
  threads_->Run([ranks = ranks_](int rank) {
    RankChoice& own = (*ranks)[rank];
    own.chosen = own.model->chooser().Read();
  });
  return ranks_->front().chosen;
}

}  // namespace strata
