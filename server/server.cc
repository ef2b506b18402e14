#include "server/server.h"

#include <fmt/format.h>
#include <grpcpp/server_builder.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "engine/checkpoint/packed_file.h"
#include "engine/status_macros.h"
#include "server/load_metrics.h"
#include "server/malformed_request.h"
#include "server/model_info.h"

namespace strata::server {
namespace {

constexpr int kMaxMetadataBytes = 16 << 10;
// How long an ended call has to get its last bytes out.
constexpr std::chrono::milliseconds kGoodbye{500};
constexpr std::chrono::milliseconds kHurryInterval{100};

}  // namespace

absl::StatusOr<std::unique_ptr<StrataServer>> StrataServer::Start(const Options& options,
                                                                  Engine* engine,
                                                                  ServerMetrics* metrics) {
  std::unique_ptr<StrataServer> server(new StrataServer(options, engine, metrics));
  RETURN_IF_ERROR(server->OpenMetrics(options));
  RETURN_IF_ERROR(server->OpenGrpc(options));
  server->health_.SetServing(true);
  return server;
}

StrataServer::StrataServer(const Options& options, Engine* engine, ServerMetrics* metrics)
    : engine_(engine),
      metrics_(metrics),
      calls_(options.max_calls, metrics),
      serving_{engine,
               MakeRequestDefaults(engine->checkpoint().generation_defaults(), options,
                                   engine->auto_speculation()),
               MakeRequestLimits(*engine),
               options.tenancy,
               &calls_,
               &request_ids_},
      inference_(&serving_),
      control_(&serving_, MakeModelInfo(serving_, options.weights.value_or(
                                                      DefaultWeightFormat(engine->checkpoint())))),
      health_({v1::Inference::service_full_name(), v1::Control::service_full_name()}),
      orca_([engine, max_sequences = options.engine.max_sequences] {
        return MakeLoadReport(engine->GetLoad(), max_sequences);
      }) {
  metrics->SetBuildInfo(engine->checkpoint().config().name, engine->backend_description());
}

StrataServer::~StrataServer() {
  Drain(std::chrono::steady_clock::now(), [] { return true; });
}

absl::Status StrataServer::OpenMetrics(const Options& options) {
  if (!options.metrics_listen) return absl::OkStatus();
  auto load = std::make_shared<LoadMetrics>([engine = engine_] { return engine->GetLoad(); });
  ASSIGN_OR_RETURN(
      metrics_endpoint_,
      MetricsEndpoint::Open(*options.metrics_listen, {metrics_->registry(), std::move(load)}));
  metrics_address_ = HostPort{options.metrics_listen->host, metrics_endpoint_->port()}.ToString();
  return absl::OkStatus();
}

absl::Status StrataServer::OpenGrpc(const Options& options) {
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(options.listen.ToString(), grpc::InsecureServerCredentials(), &port);
  builder.SetMaxReceiveMessageSize(options.max_message_bytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  // Two servers on one port would share its connections at random.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  AnswerMalformedRequests(&builder);
  builder.RegisterService(&inference_);
  builder.RegisterService(&control_);
  builder.RegisterService(&health_);
  builder.RegisterService(&orca_);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr || port == 0) {
    return absl::UnavailableError(fmt::format(
        "--listen: cannot listen on {}: the port is taken or the address is not this machine's",
        options.listen.ToString()));
  }
  grpc_address_ = HostPort{options.listen.host, port}.ToString();
  return absl::OkStatus();
}

bool StrataServer::Drain(Instant deadline, const std::function<bool()>& hurry) {
  if (std::exchange(drained_, true)) return true;
  health_.SetServing(false);
  engine_->StopAdmitting();
  bool idle = false;
  while (!idle) {
    const Instant now = std::chrono::steady_clock::now();
    idle = calls_.WaitUntilIdle(std::min(deadline, now + Duration(kHurryInterval)));
    if (now >= deadline || hurry()) break;
  }
  engine_->Stop(absl::UnavailableError("the server is stopping"));
  if (server_ != nullptr) {
    calls_.WaitUntilIdle(std::chrono::steady_clock::now() + kGoodbye);
    // Watches and load reports have no end of their own: they are cancelled.
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
  }
  return idle;
}

}  // namespace strata::server
