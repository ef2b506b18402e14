// Lossless verification of drafted tokens (invariant I2).

#ifndef STRATA_ENGINE_VERIFICATION_H_
#define STRATA_ENGINE_VERIFICATION_H_

#include <cstdint>

#include "engine/distribution.h"
#include "engine/random.h"

namespace strata {

// How unseeded drafts are verified. Both leave the target's distribution as it is.
enum class Verification : uint8_t {
  kBlock,  // a round's drafts together (Sun et al., arXiv 2403.10444): accepts no fewer
  kToken,  // one by one (Leviathan et al., arXiv 2211.17192, algorithm 1)
};

// A drafted token and the very distribution that it was drawn from.
struct Proposal {
  TokenId token = 0;
  Distribution distribution;
};

// Verifies one block of drafts. Takes the target's distributions one after the other, and keeps
// none of them: so a block's logits need not be in memory together.
//
// Where p_i and q_i are the distributions of the token after i drafts x_1 .. x_i, by target and
// draft, block verification follows the block's reach
//   r_0 = 1,  r_{i+1} = min(1, r_i p_i(x_{i+1}) / q_i(x_{i+1})).
// At row i it draws once from the measure max(r_i p_i - q_i, 0) over the tokens, with a mass of
// 1 - r_i for none of them; after the last draft q_i is 0. The last row that gives a token decides:
// the drafts before it are accepted, and the token follows them. (That is algorithm 2 of the paper:
// its h_i is the chance that row i gives a token, which its residual then distributes.)
//
// How many drafts a block has may depend on the drafts themselves, as long as whether there is a
// draft i + 1 is decided before it is drawn: the paper's proof goes by induction over the tree of
// all blocks, whose leaves may lie at any depth.
class BlockVerifier {
 public:
  explicit BlockVerifier(Verification scheme) : scheme_(scheme) {}

  void Begin() { *this = BlockVerifier(scheme_); }
  // The next row: `target` is the distribution of the token after the drafts before, `proposal`
  // that of the next draft, null after the last one. False: the verdict is final. REQUIRES: the
  // row before has returned true.
  bool AddRow(const Distribution& target, const Proposal* proposal, UniformSource& uniforms);

  // The verdict: so many drafts are accepted, and this token follows them.
  int num_accepted() const { return num_accepted_; }
  TokenId token() const { return token_; }

 private:
  bool AddRowOfBlock(const Distribution& target, const Proposal* proposal, double u);
  bool AddRowByToken(const Distribution& target, const Proposal* proposal, UniformSource& uniforms);
  void Settle(TokenId token) { num_accepted_ = row_, token_ = token; }

  Verification scheme_;
  int row_ = 0;       // drafts before the next row
  double reach_ = 1;  // of those drafts
  int num_accepted_ = 0;
  TokenId token_ = 0;
};

}  // namespace strata

#endif  // STRATA_ENGINE_VERIFICATION_H_
