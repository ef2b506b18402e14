// From the engine's events to messages on the wire.

#ifndef STRATA_SERVER_EVENT_TRANSLATION_H_
#define STRATA_SERVER_EVENT_TRANSLATION_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "engine/request.h"
#include "engine/tokenizer/tokenizer.h"
#include "strata/v1/inference.pb.h"

namespace strata::server {

// Of one request. Used from one thread at a time.
class EventTranslation {
 public:
  // `tokenizer` must outlive this. `echo`: whether each sample's first delta is its prompt.
  EventTranslation(const Tokenizer* tokenizer, bool echo) : tokenizer_(tokenizer), echo_(echo) {}

  v1::Started Started(const StartedEvent& event) const;
  v1::Delta Delta(int sample_index, const strata::Delta& delta);
  v1::Draft Draft(const DraftEvent& event) const;
  v1::Delta PromptLogprobs(const std::vector<TokenLogprobs>& logprobs) const;
  v1::Finished Finished(const FinishedEvent& event) const;

 private:
  struct SampleText {
    bool any = false;       // whether a delta has come
    size_t held_bytes = 0;  // of tokens whose text the engine still holds back
  };

  v1::TokenLogprobs Logprobs(const TokenLogprobs& logprobs) const;
  std::string PieceText(TokenId id) const;
  size_t TokenBytes(const std::vector<TokenId>& ids, size_t first, size_t end) const;
  void AddRuns(const strata::Delta& delta, SampleText* sample, v1::Delta* proto) const;

  const Tokenizer* const tokenizer_;
  const bool echo_;
  std::map<int, SampleText> samples_;
};

// Appends a run unless it is empty; extends the last one if that is of the same origin.
void AppendRun(const v1::TokenRun& run, v1::Delta* delta);

}  // namespace strata::server

#endif  // STRATA_SERVER_EVENT_TRANSLATION_H_
