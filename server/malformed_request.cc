#include "server/malformed_request.h"

#include <google/protobuf/descriptor.h>
#include <grpcpp/support/server_interceptor.h>

#include <memory>
#include <string_view>
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
  explicit StatusInterceptorFactory(std::set<std::string, std::less<>> services)
      : services_(std::move(services)) {}

  Interceptor* CreateServerInterceptor(ServerRpcInfo* info) override {
    return IsKnown(info->method()) ? new StatusInterceptor : nullptr;
  }

 private:
  // `method`: "/SERVICE/METHOD".
  bool IsKnown(const char* method) const {
    const std::string_view name = method == nullptr ? "" : method;
    const size_t slash = name.rfind('/');
    if (slash == name.npos || slash == 0) return false;
    const std::string service(name.substr(1, slash - 1));
    if (!services_.contains(service)) return false;
    const auto* descriptor =
        google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(service);
    return descriptor != nullptr &&
           descriptor->FindMethodByName(std::string(name.substr(slash + 1))) != nullptr;
  }

  const std::set<std::string, std::less<>> services_;
};

}  // namespace

void AnswerMalformedRequests(std::set<std::string, std::less<>> services,
                             grpc::ServerBuilder* builder) {
  std::vector<std::unique_ptr<ServerInterceptorFactoryInterface>> factories;
  factories.push_back(std::make_unique<StatusInterceptorFactory>(std::move(services)));
  builder->experimental().SetInterceptorCreators(std::move(factories));
}

}  // namespace strata::server
