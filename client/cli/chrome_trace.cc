#include "client/cli/chrome_trace.h"

#include <fmt/format.h>

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

namespace strata::client {
namespace {

using Json = nlohmann::ordered_json;

// "Processes", by which viewers group tracks.
constexpr int kServer = 1;
constexpr int kRequests = 2;
constexpr int kRoundTrack = 1;

double Microseconds(int64_t nanoseconds) { return static_cast<double>(nanoseconds) / 1000; }

class Writer {
 public:
  std::string Write(const v1::Trace& trace, const std::string& title) {
    Name("process_name", kServer, 0, title);
    Name("thread_name", kServer, kRoundTrack, "rounds");
    Name("process_name", kRequests, 0, "requests");
    for (const v1::Round& round : trace.rounds()) AddRound(round);
    const Json json = {{"displayTimeUnit", "ms"},
                       {"otherData", {{"begin_unix_us", trace.begin_unix_us()}}},
                       {"traceEvents", std::move(events_)}};
    // A title is the server's text.
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
  }

 private:
  void Name(const char* what, int process, int track, const std::string& name) {
    events_.push_back({{"name", what},
                       {"ph", "M"},
                       {"pid", process},
                       {"tid", track},
                       {"args", {{"name", name}}}});
  }

  void AddSpan(int process, int track, const std::string& name, int64_t start_ns, int64_t length_ns,
               Json args = Json::object()) {
    events_.push_back({{"name", name},
                       {"ph", "X"},
                       {"pid", process},
                       {"tid", track},
                       {"ts", Microseconds(start_ns)},
                       {"dur", Microseconds(length_ns)},
                       {"args", std::move(args)}});
  }

  void AddCounter(const char* name, int64_t at_ns, Json values) {
    events_.push_back({{"name", name},
                       {"ph", "C"},
                       {"pid", kServer},
                       {"ts", Microseconds(at_ns)},
                       {"args", std::move(values)}});
  }

  void AddRound(const v1::Round& round) {
    const std::pair<const char*, int64_t> parts[] = {
        {"plan", round.plan_ns()},     {"draft", round.draft_ns()}, {"sweep", round.sweep_ns()},
        {"verify", round.verify_ns()}, {"probe", round.probe_ns()}, {"deliver", round.deliver_ns()},
    };
    int64_t total_ns = 0;
    for (const auto& [name, length_ns] : parts) total_ns += length_ns;
    AddSpan(kServer, kRoundTrack, "round", round.start_ns(), total_ns,
            {{"number", round.number()},
             {"sequences", round.num_sequences()},
             {"prefill_rows", round.prefill_rows()},
             {"decode_rows", round.decode_rows()},
             {"cached_tokens", round.cached_tokens()},
             {"draft_micro_steps", round.draft_micro_steps()},
             {"drafted_tokens", round.drafted_tokens()},
             {"accepted_tokens", round.accepted_tokens()},
             {"emitted_tokens", round.emitted_tokens()},
             {"preemptions", round.preemptions()}});
    int64_t at_ns = round.start_ns();
    for (const auto& [name, length_ns] : parts) {
      if (length_ns > 0) AddSpan(kServer, kRoundTrack, name, at_ns, length_ns);
      at_ns += length_ns;
    }
    for (const auto& sequence : round.sequences()) AddSequence(round, total_ns, sequence);
    AddCounter("rows", round.start_ns(),
               {{"prefill", round.prefill_rows()}, {"decode", round.decode_rows()}});
    AddCounter("tokens", round.start_ns(),
               {{"drafted", round.drafted_tokens()}, {"emitted", round.emitted_tokens()}});
  }

  void AddSequence(const v1::Round& round, int64_t length_ns, const v1::SequenceInRound& sequence) {
    const std::pair key(sequence.engine_request(), sequence.sample_index());
    const auto [it, is_new] = tracks_.try_emplace(key, static_cast<int>(tracks_.size()) + 1);
    if (is_new) {
      Name("thread_name", kRequests, it->second,
           fmt::format("request {}, sample {}", key.first, key.second));
    }
    AddSpan(kRequests, it->second, sequence.num_rows() > 1 ? "prefill" : "decode", round.start_ns(),
            length_ns,
            {{"round", round.number()},
             {"rows", sequence.num_rows()},
             {"drafted_tokens", sequence.drafted_tokens()},
             {"accepted_tokens", sequence.accepted_tokens()},
             {"emitted_tokens", sequence.emitted_tokens()}});
  }

  Json events_ = Json::array();
  std::map<std::pair<uint64_t, uint32_t>, int> tracks_;  // of (request, sample)
};

}  // namespace

std::string ToChromeTrace(const v1::Trace& trace, const std::string& title) {
  return Writer().Write(trace, title);
}

}  // namespace strata::client
