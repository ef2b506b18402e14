#include "server/connection_limits.h"

#include <grpc/impl/codegen/grpc_types.h>

#include <algorithm>

namespace strata::server {
namespace {

constexpr int kMaxMetadataBytes = 16 << 10;
// A client that pings more often than this, three times in a row, is sent away.
constexpr int kMinPingIntervalMs = 10'000;
constexpr int kMaxPingStrikes = 2;
// Without calls for so long a connection is closed; clients open another when they need one.
constexpr int kMaxIdleMs = 30 * 60'000;
constexpr int kMaxKeepaliveAnswerMs = 20'000;

}  // namespace

void LimitConnections(const ConnectionOptions& options, grpc::ServerBuilder* builder) {
  const auto keepalive_ms = static_cast<int>(options.keepalive.count());
  builder->SetMaxReceiveMessageSize(options.max_message_bytes);
  builder->AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_streams);
  builder->AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS,
                              static_cast<int>(options.handshake_timeout.count()));
  builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, kMaxIdleMs);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, keepalive_ms);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS,
                              std::min(keepalive_ms, kMaxKeepaliveAnswerMs));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                              kMinPingIntervalMs);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, kMaxPingStrikes);
  // Two servers on one port would share its connections at random.
  builder->AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
}

}  // namespace strata::server
