// Drafts that were not drafted: what other exits would have proposed for a round's newest tokens,
// and how well that would have fared. A full sweep passes those exits anyway, so it takes one more
// head, and changes no output.

#ifndef STRATA_ENGINE_EXIT_PROBES_H_
#define STRATA_ENGINE_EXIT_PROBES_H_

#include <cstdint>
#include <span>
#include <vector>

#include "engine/block_pool.h"
#include "engine/clock.h"
#include "engine/drafting_policy.h"
#include "engine/model/model.h"
#include "engine/proposal_store.h"
#include "engine/sampler.h"

namespace strata {

// Of one round at a time. Used from one thread at a time.
class ExitProbes {
 public:
  // All must outlive this. `clock` is for time() only.
  ExitProbes(Model* model, BlockPool* exit_rows, const Clock* clock);

  // Begins a round that probes `wanted`, as far as there are rows of the exit cache for it.
  void Begin(std::span<const WantedProbe> wanted);
  bool empty() const { return probes_.empty(); }
  // Whether `sequence` is probed in this round.
  bool Probes(const Sequence& sequence) const;
  // Taps the states that a pass takes `sequence`'s newest token through, as row `row` of its batch.
  void Tap(const Sequence& sequence, int row, LayerRange layers,
           std::vector<HiddenTap>* taps) const;
  // Once all layers have run: has each exit choose by `head`.
  void Propose(const Head& head);
  // The target's logits for the token after `sequence`'s newest one. Before that is committed.
  void Compare(const Sequence& sequence, const Logits& target);
  // Tells `policy`, and gives back the rows of the exit cache.
  void End(DraftingPolicy* policy);

  // What Propose and Compare took in this round.
  Duration time() const { return time_; }
  int num_probes() const { return static_cast<int>(probes_.size()); }

 private:
  struct Probe {
    const Sequence* sequence = nullptr;
    int exit_layer = 0;
    int32_t exit_cache_row = 0;
    bool proposed = false;
    bool compared = false;
    TokenId token = 0;          // greedy and seeded: the draft there
    Distribution distribution;  // unseeded: what it would be drawn from
    float confidence = 0;       // of `token`
    float acceptance = 0;
  };

  void Propose(Probe& probe, const Logits& logits);

  Model* const model_;
  BlockPool* const exit_rows_;
  const Clock* const clock_;
  Duration time_{};
  std::vector<Probe> probes_;
  std::vector<int32_t> rows_;
  ProposalStore proposals_;
  SamplerScratch scratch_;
};

}  // namespace strata

#endif  // STRATA_ENGINE_EXIT_PROBES_H_
