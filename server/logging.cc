#include "server/logging.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>
#include <signal.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <string_view>
#include <utility>

#include "server/line_writer.h"
#include "server/metrics.h"

namespace strata::server {
namespace {

using Json = nlohmann::ordered_json;

// Of what this thread is logging; null: none. (A message of spdlog's has no place for them.)
thread_local const Json* current_fields = nullptr;

// Bytes that are no UTF-8 become U+FFFD.
std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

bool IsControl(unsigned char c) { return c < ' ' || c == 0x7f; }

// As it is where it is a word or a number, else in quotes.
std::string TextValue(const Json& value) {
  if (!value.is_string()) return Dump(value);
  const auto& text = value.get_ref<const std::string&>();
  const auto is_plain = [](unsigned char c) {
    return c != ' ' && c < 0x7f && !IsControl(c) && c != '"' && c != '=' && c != '\\';
  };
  const bool plain = !text.empty() && std::all_of(text.begin(), text.end(), is_plain);
  return plain ? text : Dump(value);
}

class JsonFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& line) override {
    const auto level = spdlog::level::to_string_view(message.level);
    Json json = {{"time", FormatTime(message.time)},
                 {"level", std::string_view(level.data(), level.size())},
                 {"message", std::string_view(message.payload.data(), message.payload.size())}};
    if (current_fields != nullptr) json.update(*current_fields);
    const std::string text = Dump(json);
    line.append(text.data(), text.data() + text.size());
  }
  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<JsonFormatter>();
  }
};

class TextFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& line) override {
    pattern_.format(message, line);
    if (current_fields == nullptr) return;
    for (const auto& [key, value] : current_fields->items()) {
      const std::string text = fmt::format(" {}={}", key, TextValue(value));
      line.append(text.data(), text.data() + text.size());
    }
  }
  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<TextFormatter>();
  }

 private:
  spdlog::pattern_formatter pattern_{spdlog::pattern_time_type::local, /*eol=*/""};
};

}  // namespace

class Logging::Sink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  Sink(LogFormat format, ServerMetrics* metrics)
      : base_sink(MakeLogFormatter(format)),
        writer_(std::make_unique<LineWriter>(
            fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0),
            LineWriter::Listener{
                [metrics](int64_t, const std::string&) { metrics->OnLogLineLost(); },
                [](int64_t num_lost) {
                  spdlog::error("log: written again; {} lines were lost", num_lost);
                }})) {}

  void Close() {
    std::unique_ptr<LineWriter> writer;  // goes without the lock, which its thread may need
    std::lock_guard lock(mutex_);
    writer.swap(writer_);
  }

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    if (writer_ == nullptr) return;
    spdlog::memory_buf_t buffer;
    formatter_->format(message, buffer);
    std::string line = fmt::to_string(buffer);
    // One line each, whatever is quoted in it.
    std::replace_if(line.begin(), line.end(), IsControl, ' ');
    writer_->Append(std::move(line));
  }
  void flush_() override {
    if (writer_ != nullptr) writer_->Flush();
  }

  std::unique_ptr<LineWriter> writer_;  // null: closed
};

// Before what other static objects open.
__attribute__((constructor(101))) static void HoldStandardStreams() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    // The lowest number that is free is this one.
    if (fcntl(fd, F_GETFD) < 0) (void)open("/dev/null", fd == STDIN_FILENO ? O_RDONLY : O_WRONLY);
  }
}

Logging::Logging(const std::string& level, LogFormat format, ServerMetrics* metrics)
    : sink_(std::make_shared<Sink>(format, metrics)) {
  signal(SIGPIPE, SIG_IGN);  // a reader of stderr that goes away must not end the server
  auto logger = std::make_shared<spdlog::logger>("strata", sink_);
  logger->flush_on(spdlog::level::critical);
  spdlog::set_default_logger(std::move(logger));
  SetLogLevel(level);
  gpr_set_log_function([](gpr_log_func_args* args) {
    const bool is_fatal = std::string_view(args->message).starts_with("assertion failed");
    spdlog::log(is_fatal ? spdlog::level::critical : spdlog::level::debug, "grpc: {}",
                args->message);
  });
  google::protobuf::SetLogHandler(
      [](google::protobuf::LogLevel, const char*, int, const std::string& message) {
        spdlog::debug("protobuf: {}", message);
      });
}

Logging::~Logging() { sink_->Close(); }

void SetLogLevel(const std::string& level) { spdlog::set_level(spdlog::level::from_str(level)); }

void LogFields(const std::string& message, const nlohmann::ordered_json& fields) {
  current_fields = &fields;
  spdlog::info("{}", message);
  current_fields = nullptr;
}

std::unique_ptr<spdlog::formatter> MakeLogFormatter(LogFormat format) {
  if (format == LogFormat::kJson) return std::make_unique<JsonFormatter>();
  return std::make_unique<TextFormatter>();
}

std::string FormatTime(std::chrono::system_clock::time_point time) {
  using std::chrono::floor;
  const auto seconds = floor<std::chrono::seconds>(time);
  const auto fraction = floor<std::chrono::milliseconds>(time - seconds);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", seconds, fraction.count());
}

}  // namespace strata::server
