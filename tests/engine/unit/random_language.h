// Random languages over tiny vocabularies, and what tests of verification share.

#ifndef STRATA_TESTS_ENGINE_UNIT_RANDOM_LANGUAGE_H_
#define STRATA_TESTS_ENGINE_UNIT_RANDOM_LANGUAGE_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <ostream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/distribution.h"
#include "engine/random.h"

namespace strata {

// Probabilities in units of 1/N, per token.
using Weights = std::vector<int64_t>;

// A distribution with its memory.
class Probabilities {
 public:
  // Tokens without mass are left out of a truncated support. `dense`: over all tokens, with weights
  // of zero.
  explicit Probabilities(const Weights& weights, bool dense = false) {
    for (size_t id = 0; id < weights.size(); ++id) {
      total_ += static_cast<double>(weights[id]);
      if (weights[id] == 0 && !dense) continue;
      if (!dense) ids_.push_back(static_cast<TokenId>(id));
      weights_.push_back(static_cast<float>(weights[id]));
    }
  }
  Distribution view() const { return {ids_, weights_, total_}; }

 private:
  std::vector<TokenId> ids_;
  std::vector<float> weights_;
  double total_ = 0;
};

inline Weights RandomWeights(std::mt19937_64& random, int num_tokens, int n) {
  Weights weights(num_tokens, 0);
  for (int i = 0; i < n; ++i) ++weights[random() % num_tokens];
  return weights;
}

inline std::string Print(const Weights& weights) {
  std::string text;
  for (const int64_t weight : weights) text += std::to_string(weight) + " ";
  return text;
}

class FixedUniforms final : public UniformSource {
 public:
  explicit FixedUniforms(std::vector<double> numbers) : numbers_(std::move(numbers)) {}
  double Next() override { return numbers_.at(used_++); }

 private:
  const std::vector<double> numbers_;
  size_t used_ = 0;
};

using Tokens = std::vector<TokenId>;

// A random language over a tiny vocabulary: a distribution for each text up to a length.
class Language {
 public:
  Language(std::mt19937_64& random, int num_tokens, int n, int max_length, bool dense = false) {
    Fill(random, {}, num_tokens, n, max_length, dense);
  }
  const Weights& weights(const Tokens& text) const { return weights_.at(text); }
  Distribution next(const Tokens& text) const { return distributions_.at(text).view(); }

 private:
  void Fill(std::mt19937_64& random, const Tokens& text, int num_tokens, int n, int max_length,
            bool dense) {
    weights_[text] = RandomWeights(random, num_tokens, n);
    distributions_.emplace(text, Probabilities(weights_[text], dense));
    if (static_cast<int>(text.size()) == max_length) return;
    for (TokenId id = 0; id < num_tokens; ++id) {
      Tokens longer = text;
      longer.push_back(id);
      Fill(random, longer, num_tokens, n, max_length, dense);
    }
  }

  std::map<Tokens, Weights> weights_;
  std::map<Tokens, Probabilities> distributions_;
};

struct BlockCase {
  std::string name;
  int num_drafts = 0;
  int num_tokens = 0;
  int n = 0;
  int num_languages = 0;
};
inline void PrintTo(const BlockCase& block, std::ostream* out) { *out << block.name; }

}  // namespace strata

#endif  // STRATA_TESTS_ENGINE_UNIT_RANDOM_LANGUAGE_H_
