// Shows a stream of events to a person, as LayerSkip's streamer does: tokens
// that the early layers drafted in one colour, the model's own in another.

#ifndef STRATA_CLIENT_CLI_STREAM_PRINTER_H_
#define STRATA_CLIENT_CLI_STREAM_PRINTER_H_

#include <map>
#include <optional>
#include <ostream>
#include <string>

#include "strata/v1/inference.pb.h"

namespace strata::client {

class StreamPrinter {
 public:
  // `color`: accepted drafts in green, rejected ones (where the stream has
  // Draft events) struck out in red. Without it: the bare text, no drafts.
  // `num_samples`: the first is shown as it comes, the others by Finish.
  StreamPrinter(std::ostream* out, bool color, int num_samples);

  void OnResponse(const v1::GenerateResponse& response);
  // After the last response.
  void Finish();

  // What has come of a sample.
  const std::string& text(int sample_index) { return samples_[sample_index].text; }
  // Its last event, once it has come.
  const std::optional<v1::Finished>& finished(int sample_index) {
    return samples_[sample_index].finished;
  }

 private:
  struct Sample {
    std::string text;
    std::string shown;  // text with its colours; of samples that wait for Finish
    std::optional<v1::Draft> draft;
    std::optional<v1::Finished> finished;
  };

  // The delta with its colours.
  std::string Show(const v1::Delta& delta, Sample* sample) const;
  // What of the draft the delta rejects, as one line.
  static std::string RejectedText(const v1::Draft& draft, const v1::Delta& delta);

  std::ostream& out_;
  const bool color_;
  const int num_samples_;
  std::map<int, Sample> samples_;
};

}  // namespace strata::client

#endif  // STRATA_CLIENT_CLI_STREAM_PRINTER_H_
