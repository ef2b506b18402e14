// What one stream has still to write. Grows with the tokens of a request, not
// with the number of rounds: where the reader is slower than the model, deltas
// of a sample melt into one and drafts are left out.

#ifndef STRATA_SERVER_RESPONSE_QUEUE_H_
#define STRATA_SERVER_RESPONSE_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <string>

#include "strata/v1/inference.pb.h"

namespace strata::server {

// Used from one thread at a time.
class ResponseQueue {
 public:
  // A delta is not extended past these, so that no message gets too large for a reader.
  static constexpr int kMaxDeltaTokens = 512;
  static constexpr int kMaxDeltaBytes = 64 << 10;

  explicit ResponseQueue(std::string request_id) : request_id_(std::move(request_id)) {}

  void PushStarted(int sample_index, v1::Started started);
  void PushDelta(int sample_index, v1::Delta delta);
  // Dropped if anything of the sample is still waiting.
  void PushDraft(int sample_index, v1::Draft draft);
  void PushFinished(int sample_index, v1::Finished finished);

  // The next response in order, if any.
  std::optional<v1::GenerateResponse> Pop();
  // Moves what is next into `response`, which was popped, while both are deltas of one sample and
  // there is room.
  void Extend(v1::GenerateResponse* response);
  bool empty() const { return responses_.empty(); }
  size_t size() const { return responses_.size(); }

 private:
  v1::GenerateResponse* Append(int sample_index);
  // The delta of the sample that waits last of its events; null if none does.
  v1::Delta* OpenDelta(int sample_index);

  const std::string request_id_;
  std::list<v1::GenerateResponse> responses_;  // a list: pointers to waiting ones stay valid
  std::map<int, v1::GenerateResponse*> last_;  // of each sample that has any waiting
};

// Appends `more` to `delta`.
void MergeDelta(v1::Delta more, v1::Delta* delta);

}  // namespace strata::server

#endif  // STRATA_SERVER_RESPONSE_QUEUE_H_
