// What is logged, for a test to look at.

#ifndef STRATA_TESTS_SERVER_CAPTURED_LOG_H_
#define STRATA_TESTS_SERVER_CAPTURED_LOG_H_

#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "server/logging.h"

namespace strata::server {

// All that is logged while it lives, at `level` and above.
class CapturedLog {
 public:
  explicit CapturedLog(LogFormat format, spdlog::level::level_enum level = spdlog::level::trace)
      : before_(spdlog::default_logger()), sink_(std::make_shared<Sink>(format)) {
    auto logger = std::make_shared<spdlog::logger>("captured", sink_);
    logger->set_level(level);
    spdlog::set_default_logger(std::move(logger));
  }
  ~CapturedLog() { spdlog::set_default_logger(before_); }

  std::vector<std::string> lines() const { return sink_->lines(); }
  std::string text() const {
    std::string text;
    for (const std::string& line : lines()) text += line + "\n";
    return text;
  }
  // Of LogFormat::kJson: the lines with this message.
  std::vector<nlohmann::json> Find(const std::string& message) const {
    std::vector<nlohmann::json> found;
    for (const std::string& line : lines()) {
      nlohmann::json json = nlohmann::json::parse(line);
      if (json["message"] == message) found.push_back(std::move(json));
    }
    return found;
  }

 private:
  class Sink final : public spdlog::sinks::base_sink<std::mutex> {
   public:
    explicit Sink(LogFormat format) : base_sink(MakeLogFormatter(format)) {}
    std::vector<std::string> lines() {
      std::lock_guard lock(mutex_);
      return lines_;
    }

   private:
    void sink_it_(const spdlog::details::log_msg& message) override {
      spdlog::memory_buf_t line;
      formatter_->format(message, line);
      lines_.push_back(fmt::to_string(line));
    }
    void flush_() override {}

    std::vector<std::string> lines_;
  };

  const std::shared_ptr<spdlog::logger> before_;
  const std::shared_ptr<Sink> sink_;
};

}  // namespace strata::server

#endif  // STRATA_TESTS_SERVER_CAPTURED_LOG_H_
