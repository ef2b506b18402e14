// Who used how many tokens of which model under which terms: a file that only grows, one JSON
// object a line.

#ifndef STRATA_SERVER_AUDIT_LOG_H_
#define STRATA_SERVER_AUDIT_LOG_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "server/credentials.h"
#include "server/line_writer.h"
#include "server/metrics.h"

namespace strata::server {

// One call that used tokens, whatever became of it.
struct AuditRecord {
  WallTime time;  // of its end
  std::string request_id;
  std::string method;  // "Generate"
  std::string tenant;  // empty: none is known
  std::string token;   // its name; empty: the server asks for none
  std::string code;    // "OK"
  int64_t prompt_tokens = 0;
  int64_t generated_tokens = 0;
  std::string model;
  std::string license;      // empty: none found
  std::string accepted_by;  // "tenant", "operator" or empty: there was nothing to accept
};

// One line, without its end.
std::string ToJson(const AuditRecord& record);

// Thread-safe. Lines that cannot be written (a full disk, a disk slower than the calls) are lost,
// counted in metrics and logged; calls never wait for the file.
class AuditLog {
 public:
  // Creates the file for its owner and group only, or appends to it. `metrics` must outlive this.
  // Errors: INVALID_ARGUMENT.
  static absl::StatusOr<std::unique_ptr<AuditLog>> Open(const std::string& path,
                                                        ServerMetrics* metrics);
  void Append(std::string line) { writer_.Append(std::move(line)); }
  // Opens the path anew, for a file that has been moved away. On failure the old one is kept.
  absl::Status Reopen();

 private:
  AuditLog(std::string path, int fd, ServerMetrics* metrics);

  const std::string path_;
  LineWriter writer_;
};

}  // namespace strata::server

#endif  // STRATA_SERVER_AUDIT_LOG_H_
