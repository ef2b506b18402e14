// A client that holds streams and does not read on, to be killed or stopped by a test:
//   stream_holder ADDRESS NUM_STREAMS
// Prints "ready" once each stream, on a connection of its own, has given something.

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <list>
#include <memory>
#include <string>

#include "strata/v1/inference.grpc.pb.h"

namespace {

struct HeldStream {
  std::unique_ptr<strata::v1::Inference::Stub> stub;
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReader<strata::v1::GenerateResponse>> reader;
};

// More text than a connection holds for a reader that does not read.
strata::v1::GenerateRequest LongAnswer() {
  strata::v1::GenerateRequest request;
  request.set_text("def f(x):");
  request.mutable_sampling()->set_seed(1);
  request.mutable_stopping()->set_max_new_tokens(480);
  request.mutable_stopping()->set_ignore_eos(true);
  request.mutable_output()->set_logprobs(20);
  return request;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return EXIT_FAILURE;
  std::list<HeldStream> streams(std::strtoul(argv[2], nullptr, 10));
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  for (HeldStream& stream : streams) {
    stream.stub = strata::v1::Inference::NewStub(
        grpc::CreateCustomChannel(argv[1], grpc::InsecureChannelCredentials(), arguments));
    stream.reader = stream.stub->Generate(&stream.context, LongAnswer());
  }
  strata::v1::GenerateResponse response;
  for (HeldStream& stream : streams) {
    if (!stream.reader->Read(&response)) return EXIT_FAILURE;
  }
  std::puts("ready");
  std::fflush(stdout);
  pause();
  return EXIT_SUCCESS;
}
