#include "server/malformed_request.h"

#include <grpcpp/support/server_interceptor.h>

#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "server/status_mapping.h"

namespace strata::server {
namespace {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::Interceptor;
using grpc::experimental::InterceptorBatchMethods;
using grpc::experimental::ServerInterceptorFactoryInterface;
using grpc::experimental::ServerRpcInfo;

class StatusInterceptor final : public Interceptor {
 public:
  void Intercept(InterceptorBatchMethods* methods) override {
    // Calls of unknown methods have no interceptor, so this is never about those.
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS) &&
        methods->GetSendStatus().error_code() == grpc::StatusCode::UNIMPLEMENTED) {
      methods->ModifySendStatus(ToGrpcStatus(absl::InvalidArgumentError(
          "The request is no valid protobuf message of its type, or has text that is not UTF-8")));
    }
    methods->Proceed();
  }
};

class StatusInterceptorFactory final : public ServerInterceptorFactoryInterface {
 public:
  Interceptor* CreateServerInterceptor(ServerRpcInfo*) override { return new StatusInterceptor; }
};

}  // namespace

void AnswerMalformedRequests(grpc::ServerBuilder* builder) {
  std::vector<std::unique_ptr<ServerInterceptorFactoryInterface>> factories;
  factories.push_back(std::make_unique<StatusInterceptorFactory>());
  builder->experimental().SetInterceptorCreators(std::move(factories));
}

}  // namespace strata::server
