// A server of gRPC's callback API whose reactors have no locks, for reactor_order_test.py, under
// ThreadSanitizer.
//   reactor_order                 relies on what gRPC promises: no report
//   reactor_order MISTAKE         relies on what it does not: a report that names Mistake
// MISTAKE: after-write, after-finish, write-and-cancel

#include <grpcpp/create_channel.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "strata/v1/inference.grpc.pb.h"

namespace strata {
namespace {

constexpr int kWrites = 20;

// Lets the other thread go first, without any order that could be seen.
void WaitUnseen() { std::this_thread::sleep_for(std::chrono::milliseconds(300)); }

// Streams `kWrites` responses; the first from a thread of its own, the others from gRPC's. All
// members are used by one thread at a time only as far as gRPC sees to it.
class OrderedReactor final : public grpc::ServerWriteReactor<v1::GenerateResponse> {
 public:
  explicit OrderedReactor(const std::string& id) {
    response_.set_request_id(id);
    writer_ = std::thread([this] { Write(); });
  }

  void OnWriteDone(bool ok) override {
    if (writer_.joinable()) writer_.detach();  // has done all that it does
    if (ok && num_written_ < kWrites) return Write();
    Finish(num_written_ == kWrites ? grpc::Status::OK : grpc::Status::CANCELLED);
  }
  void OnCancel() override { cancelled_ = !made_by_.empty(); }
  void OnDone() override { delete this; }

 private:
  void Write() {
    response_.set_sample_index(++num_written_);
    StartWrite(&response_);
  }

  const std::string made_by_ = "the method handler, with some text that is not short";
  std::thread writer_;
  v1::GenerateResponse response_;
  uint32_t num_written_ = 0;
  bool cancelled_ = false;  // OnCancel's and the destructor's
};

// The planted mistakes.
int touched = 0;

__attribute__((noinline)) void Mistake() { ++touched; }

// Touches what OnWriteDone touches, when the write has been started.
class AfterWrite final : public grpc::ServerWriteReactor<v1::GenerateResponse> {
 public:
  AfterWrite() {
    StartWrite(&response_);
    std::thread([] {
      WaitUnseen();
      Mistake();
    }).detach();
  }
  void OnWriteDone(bool) override {
    Mistake();
    Finish(grpc::Status::OK);
  }
  void OnDone() override { delete this; }

 private:
  v1::GenerateResponse response_;
};

// Touches what OnDone touches, when it has finished.
class AfterFinish final : public grpc::ServerWriteReactor<v1::GenerateResponse> {
 public:
  AfterFinish() {
    std::thread([this] {
      Finish(grpc::Status::OK);
      WaitUnseen();
      Mistake();
    }).detach();
  }
  void OnDone() override {
    Mistake();
    delete this;
  }
};

// OnCancel touches what OnWriteDone touches.
class WriteAndCancel final : public grpc::ServerWriteReactor<v1::GenerateResponse> {
 public:
  WriteAndCancel() { StartWrite(&response_); }
  void OnWriteDone(bool) override {
    Mistake();
    WaitUnseen();  // keeps this thread, so that the cancellation takes another
    Finish(grpc::Status::OK);
  }
  void OnCancel() override { Mistake(); }
  void OnDone() override { delete this; }

 private:
  v1::GenerateResponse response_;
};

class Service final : public v1::Inference::CallbackService {
 public:
  explicit Service(std::string mistake) : mistake_(std::move(mistake)) {}

  grpc::ServerWriteReactor<v1::GenerateResponse>* Generate(
      grpc::CallbackServerContext*, const v1::GenerateRequest* request) override {
    if (mistake_ == "after-write") return new AfterWrite;
    if (mistake_ == "after-finish") return new AfterFinish;
    if (mistake_ == "write-and-cancel") return new WriteAndCancel;
    return new OrderedReactor(request->request_id());
  }

 private:
  const std::string mistake_;
};

// Reads `max_responses` at most, then hangs up.
void Call(v1::Inference::Stub* stub, int max_responses) {
  grpc::ClientContext context;
  v1::GenerateRequest request;
  request.set_request_id("an id that is too long to be kept in the string itself");
  auto reader = stub->Generate(&context, request);
  v1::GenerateResponse response;
  for (int i = 0; i < max_responses && reader->Read(&response); ++i) {
  }
  context.TryCancel();
  reader->Finish();
}

}  // namespace
}  // namespace strata

int main(int argc, char** argv) {
  using namespace strata;
  const std::string mistake = argc > 1 ? argv[1] : "";
  Service service(mistake);
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const auto server = builder.BuildAndStart();
  const auto stub = v1::Inference::NewStub(
      grpc::CreateChannel("127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials()));

  if (mistake.empty()) {
    std::vector<std::thread> clients;
    for (int client = 0; client < 8; ++client) {
      clients.emplace_back([&stub, client] {
        for (int call = 0; call < 25; ++call) Call(stub.get(), client % 2 == 0 ? 1000 : call);
      });
    }
    for (std::thread& client : clients) client.join();
  } else {
    Call(stub.get(), mistake == "write-and-cancel" ? 1 : 1000);
    for (int i = 0; i < 3; ++i) WaitUnseen();
  }
  server->Shutdown();
  server->Wait();
  std::puts("served");
}
