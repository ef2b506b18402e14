// Names for requests whose callers gave none.

#ifndef STRATA_SERVER_REQUEST_IDS_H_
#define STRATA_SERVER_REQUEST_IDS_H_

#include <fmt/format.h>

#include <atomic>
#include <cstdint>
#include <random>
#include <string>

namespace strata::server {

// Thread-safe.
class RequestIds {
 public:
  RequestIds() : server_(std::random_device{}()) {}

  // Unique in this server's life, and most likely among servers: "req-1c9a03f2-17".
  std::string Next() { return fmt::format("req-{:08x}-{}", server_, ++last_); }

 private:
  const uint32_t server_;
  std::atomic<uint64_t> last_{0};
};

}  // namespace strata::server

#endif  // STRATA_SERVER_REQUEST_IDS_H_
