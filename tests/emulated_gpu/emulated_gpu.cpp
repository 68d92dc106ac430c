// An emulated CUDA device for a CPU build of torch: tensors really are on "cuda:0" (dispatch key CUDA, autograd on a
// device thread of its own, autocast's CUDA lists), their memory is the host's, and every kernel is the CPU's.
//
// A boxed fallback for the dispatch key CUDA shows each operation CPU tensors that alias the memory of the CUDA ones,
// and wraps what comes back. On the way it does what CUDA kernels do and CPU kernels do not: refuse tensors of two
// devices, operations and generators that a GPU has not, use in a forked child; and it counts launches, host
// synchronisations and memory. Which operations a GPU has, and which of them check devices, is generated from
// native_functions.yaml (operators.inc).
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/native/Resize.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/view_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/view_as_real_native.h>
#include <ATen/ops/view_as_complex_native.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <pthread.h>
#include <atomic>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <unordered_map>
#include <unordered_set>

namespace {

using c10::Device;
using c10::DeviceIndex;
using c10::DeviceType;
using c10::DispatchKey;
using c10::DispatchKeySet;
using c10::IValue;

enum Flag : int { HAS_CUDA = 1, ITERATOR = 2, NO_CHECK = 4 };

struct Operator {
  const char* name;
  int flags;
};
const Operator known[] = {  // no map: a compiler takes a minute and gigabytes for one of thousands
#include "operators.inc"
};
const char* const whole[] = {
#include "whole.inc"
};

const std::unordered_map<std::string, int>& operators() {
  static const auto* table = [] {
    auto made = new std::unordered_map<std::string, int>();
    for (const auto& one : known) made->emplace(one.name, one.flags);
    return made;
  }();
  return *table;
}

// ---------------------------------------------------------------- counters

std::mutex mutex;
std::map<std::string, int64_t> launches, syncs, scalars, undetermined;
std::atomic<int64_t> current_bytes{0}, peak_bytes{0}, launch_count{0}, sync_count{0}, allocations{0};
std::atomic<bool> initialised{false}, bad_fork{false};
std::atomic<int64_t> different{1};  // whether numbers drawn on the GPU differ from those of a CPU generator
using Watch = void (*)(const char* kind, const char* name);
std::atomic<Watch> watch{nullptr};

void count(std::map<std::string, int64_t>& table, const std::string& name) {
  std::lock_guard<std::mutex> lock(mutex);
  ++table[name];
}

void launched(const std::string& name) {
  ++launch_count;
  count(launches, name);
}

void synchronised(const std::string& name) {
  ++sync_count;
  count(syncs, name);
  if (auto told = watch.load()) told("sync", name.c_str());
}

void used() {
  TORCH_CHECK(!bad_fork, "Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, you must "
                         "use the 'spawn' start method");
  initialised = true;
}

std::atomic<int64_t> limit{0};  // of bytes; 0 for none

void took(size_t bytes) {
  ++allocations;
  auto rounded = static_cast<int64_t>((bytes + 511) / 512 * 512);
  auto now = current_bytes += rounded;
  if (limit && now > limit) {
    current_bytes -= rounded;
    TORCH_CHECK_WITH(
        OutOfMemoryError, false, "CUDA out of memory. Tried to allocate ", bytes, " bytes beside ", now - rounded,
        " of ", limit.load(), " (emulated)");
  }
  auto peak = peak_bytes.load();
  while (now > peak && !peak_bytes.compare_exchange_weak(peak, now)) {}
}

void gave(size_t bytes) { current_bytes -= static_cast<int64_t>((bytes + 511) / 512 * 512); }

// ---------------------------------------------------------------- memory

struct Held {  // what keeps the host memory of a CUDA storage alive
  c10::Storage storage;
  size_t bytes;
};

void release(void* context) {
  auto held = static_cast<Held*>(context);
  gave(held->bytes);
  delete held;
}

c10::Storage on_device(const c10::Storage& host);

std::map<const void*, size_t> pinned;

void forget_pinned(void* context) {
  auto host = static_cast<c10::Storage*>(context);
  {
    std::lock_guard<std::mutex> lock(mutex);
    pinned.erase(host->data());
  }
  delete host;
}

struct FakeAllocator final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    used();
    c10::Storage host(c10::Storage::use_byte_size_t(), bytes, c10::GetCPUAllocator(), true);
    void* data = host.mutable_data();
    took(bytes);
    return {data, new Held{host, bytes}, &release, Device(DeviceType::CUDA, 0)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void* target, const void* source, std::size_t bytes) const override {
    std::memcpy(target, source, bytes);
  }
};

FakeAllocator* allocator() {
  static auto* made = new FakeAllocator();
  return made;
}

struct PinnedAllocator final : c10::Allocator {  // memory of the host that a GPU may read without asking it to wait
  c10::DataPtr allocate(size_t bytes) override {
    used();
    c10::Storage host(c10::Storage::use_byte_size_t(), bytes, c10::GetCPUAllocator(), true);
    void* data = host.mutable_data();
    std::lock_guard<std::mutex> lock(mutex);
    pinned[data] = bytes;
    return {data, new c10::Storage(host), &forget_pinned, Device(DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void* target, const void* source, std::size_t bytes) const override {
    std::memcpy(target, source, bytes);
  }
};

bool is_pinned_address(const void* data) {
  std::lock_guard<std::mutex> lock(mutex);
  auto next = pinned.upper_bound(data);
  if (next == pinned.begin()) return false;
  const auto& [begin, bytes] = *std::prev(next);
  return static_cast<const char*>(data) < static_cast<const char*>(begin) + bytes;
}

PinnedAllocator* pinned_allocator() {
  static auto* made = new PinnedAllocator();
  return made;
}

c10::Storage on_device(const c10::Storage& host) {
  auto bytes = host.nbytes();
  took(bytes);
  c10::DataPtr data(const_cast<void*>(host.data()), new Held{host, bytes}, &release, Device(DeviceType::CUDA, 0));
  return c10::Storage(c10::make_intrusive<c10::StorageImpl>(
      c10::StorageImpl::use_byte_size_t(), bytes, std::move(data), allocator(), true));
}

void forget(void* context) { delete static_cast<c10::Storage*>(context); }

// ---------------------------------------------------------------- generators

struct FakeGenerator final : c10::GeneratorImpl {
  at::Generator inner;
  uint64_t seed_ = c10::default_rng_seed_val;
  explicit FakeGenerator(DeviceIndex index)
      : c10::GeneratorImpl(Device(DeviceType::CUDA, index < 0 ? 0 : index), DispatchKeySet(DispatchKey::CUDA)),
        inner(at::detail::createCPUGenerator()) {
    set_current_seed(c10::default_rng_seed_val);
  }
  void set_current_seed(uint64_t seed) override {
    seed_ = seed;
    inner.set_current_seed(different ? seed ^ 0x5DEECE66DULL : seed);
  }
  void set_offset(uint64_t) override {}
  uint64_t get_offset() const override { return 0; }
  uint64_t current_seed() const override { return seed_; }
  uint64_t seed() override {
    auto drawn = c10::detail::getNonDeterministicRandom(true);
    set_current_seed(drawn);
    return drawn;
  }
  void set_state(const c10::TensorImpl& state) override {
    inner.unsafeGetGeneratorImpl()->set_state(state);
  }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override {
    return inner.unsafeGetGeneratorImpl()->get_state();
  }
  FakeGenerator* clone_impl() const override {
    auto copy = new FakeGenerator(device_.index());
    copy->seed_ = seed_;
    copy->set_state(*get_state());
    return copy;
  }
};

const at::Generator& default_generator() {
  static at::Generator made = at::make_generator<FakeGenerator>(DeviceIndex(0));
  return made;
}
std::atomic<bool> want_default{false};

// ---------------------------------------------------------------- hooks and guard

struct CUDAHooks final : at::CUDAHooksInterface {
  explicit CUDAHooks(at::CUDAHooksArgs) {}
  void init() const override { used(); }
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  const at::Generator& getDefaultGenerator(DeviceIndex) const override { return default_generator(); }
  at::Generator getNewGenerator(DeviceIndex index) const override {
    return want_default ? default_generator() : at::make_generator<FakeGenerator>(index);
  }
  Device getDeviceFromPtr(void*) const override { return Device(DeviceType::CUDA, 0); }
  bool hasCUDA() const override { return true; }
  bool hasCUDART() const override { return true; }
  bool hasCuSOLVER() const override { return true; }
  bool hasPrimaryContext(DeviceIndex) const override { return initialised; }
  DeviceIndex current_device() const override { return 0; }
  DeviceIndex getCurrentDevice() const override { return 0; }
  void setCurrentDevice(DeviceIndex) const override {}
  DeviceIndex exchangeDevice(DeviceIndex) const override { return 0; }
  DeviceIndex maybeExchangeDevice(DeviceIndex) const override { return 0; }
  DeviceIndex deviceCount() const override { return 1; }
  int getNumGPUs() const override { return 1; }
  at::Allocator* getPinnedMemoryAllocator() const override { return pinned_allocator(); }
  bool isPinnedPtr(const void* data) const override { return is_pinned_address(data); }
  at::Allocator* getCUDADeviceAllocator() const override { return allocator(); }
  std::string showConfig() const override { return "emulated"; }
  void deviceSynchronize(DeviceIndex) const override { synchronised("device"); }
};

struct FakeGuard final : c10::impl::DeviceGuardImplInterface {
  static c10::Stream stream() { return c10::Stream(c10::Stream::DEFAULT, Device(DeviceType::CUDA, 0)); }
  DeviceType type() const override { return DeviceType::CUDA; }
  Device exchangeDevice(Device) const override { return Device(DeviceType::CUDA, 0); }
  Device getDevice() const override { return Device(DeviceType::CUDA, 0); }
  void setDevice(Device) const override {}
  void uncheckedSetDevice(Device) const noexcept override {}
  c10::Stream getStream(Device) const override { return stream(); }
  c10::Stream getDefaultStream(Device) const override { return stream(); }
  c10::Stream getStreamFromGlobalPool(Device, bool) const override { return stream(); }
  c10::Stream getNewStream(Device, int) const override { return stream(); }
  c10::Stream exchangeStream(c10::Stream) const override { return stream(); }
  DeviceIndex deviceCount() const noexcept override { return 1; }
  void record(void**, const c10::Stream&, const DeviceIndex, const c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override { synchronised("stream"); }
  void synchronizeEvent(void*) const override { synchronised("event"); }
  void synchronizeDevice(const DeviceIndex) const override { synchronised("device"); }
};

// ---------------------------------------------------------------- the fallback

struct Pair {
  at::Tensor device, host;
  c10::SmallVector<int64_t, 6> sizes, strides;
};

struct Call {
  std::vector<Pair> pairs;
  std::unordered_map<const c10::TensorImpl*, size_t> by_impl;
  std::unordered_map<const c10::StorageImpl*, c10::Storage> by_storage;

  at::Tensor to_host(const at::Tensor& tensor) {
    auto known = seen.find(tensor.unsafeGetTensorImpl());
    if (known != seen.end()) return pairs[known->second].host;
    const auto& storage = tensor.storage();
    auto found = hosts.find(storage.unsafeGetStorageImpl());
    c10::Storage host_storage;
    if (found == hosts.end()) {
      c10::DataPtr data(const_cast<void*>(storage.data()), new c10::Storage(storage), &forget, Device(DeviceType::CPU));
      host_storage = c10::Storage(c10::make_intrusive<c10::StorageImpl>(
          c10::StorageImpl::use_byte_size_t(), storage.nbytes(), std::move(data), c10::GetCPUAllocator(), true));
      hosts.emplace(storage.unsafeGetStorageImpl(), host_storage);
      by_storage.emplace(host_storage.unsafeGetStorageImpl(), storage);
    } else {
      host_storage = found->second;
    }
    auto host = at::detail::make_tensor<c10::TensorImpl>(
        c10::Storage(host_storage), DispatchKeySet(DispatchKey::CPU), tensor.dtype());
    auto impl = host.unsafeGetTensorImpl();
    impl->set_storage_offset(tensor.storage_offset());
    impl->set_sizes_and_strides(tensor.sizes(), tensor.strides());
    if (tensor.unsafeGetTensorImpl()->is_wrapped_number()) impl->set_wrapped_number(true);
    if (tensor.is_conj()) host._set_conj(true);
    if (tensor.is_neg()) host._set_neg(true);
    seen.emplace(tensor.unsafeGetTensorImpl(), pairs.size());
    by_impl.emplace(impl, pairs.size());
    pairs.push_back(Pair{tensor, host, {}, {}});
    pairs.back().sizes.append(tensor.sizes().begin(), tensor.sizes().end());
    pairs.back().strides.append(tensor.strides().begin(), tensor.strides().end());
    return host;
  }

  c10::Storage storage_of(const at::Tensor& host) {
    auto found = by_storage.find(host.storage().unsafeGetStorageImpl());
    if (found != by_storage.end() && found->second.data() == host.storage().data()) return found->second;
    auto made = on_device(host.storage());
    by_storage[host.storage().unsafeGetStorageImpl()] = made;
    return made;
  }

  at::Tensor to_device(const at::Tensor& host) {
    if (!host.defined() || !host.device().is_cpu()) return host;
    auto known = by_impl.find(host.unsafeGetTensorImpl());
    if (known != by_impl.end()) return pairs[known->second].device;
    auto tensor = at::detail::make_tensor<c10::TensorImpl>(
        storage_of(host), DispatchKeySet(DispatchKey::CUDA), host.dtype());
    auto impl = tensor.unsafeGetTensorImpl();
    impl->set_storage_offset(host.storage_offset());
    impl->set_sizes_and_strides(host.sizes(), host.strides());
    if (host.unsafeGetTensorImpl()->is_wrapped_number()) impl->set_wrapped_number(true);
    if (host.is_conj()) tensor._set_conj(true);
    if (host.is_neg()) tensor._set_neg(true);
    return tensor;
  }

  void adopt_new_shapes() {
    for (auto& pair : pairs) {
      const auto& host = pair.host;
      bool moved = host.storage().data() != pair.device.storage().data();
      if (!moved && host.sizes() == c10::IntArrayRef(pair.sizes) && host.strides() == c10::IntArrayRef(pair.strides))
        continue;
      auto impl = pair.device.unsafeGetTensorImpl();
      if (moved) impl->set_storage_keep_dtype(on_device(host.storage()));
      impl->set_storage_offset(host.storage_offset());
      impl->set_sizes_and_strides(host.sizes(), host.strides());
    }
  }

 private:
  std::unordered_map<const c10::TensorImpl*, size_t> seen;
  std::unordered_map<const c10::StorageImpl*, c10::Storage> hosts;
};

std::string full_name(const c10::FunctionSchema& schema) {
  return schema.overload_name().empty() ? schema.name() : schema.name() + "." + schema.overload_name();
}

bool is_index(const std::string& name) {
  return name.rfind("aten::index.", 0) == 0 || name.rfind("aten::_index_put_impl_", 0) == 0 ||
      name.rfind("aten::index_put", 0) == 0 || name.rfind("aten::_unsafe_index", 0) == 0;
}

// Kernels that wait for the GPU, because the size of what they return, or a check, depends on values.
const std::unordered_set<std::string>& waiting() {
  static const std::unordered_set<std::string> names = {
      "aten::_local_scalar_dense", "aten::nonzero", "aten::nonzero.out", "aten::masked_select",
      "aten::masked_select.out", "aten::_unique", "aten::_unique2", "aten::unique_dim", "aten::unique_consecutive",
      "aten::unique_dim_consecutive", "aten::equal", "aten::repeat_interleave.Tensor", "aten::bincount",
      "aten::multinomial", "aten::multinomial.out", "aten::is_nonzero"};
  return names;
}

// Kernels whose sums come in another order each time, from the documentation of torch.use_deterministic_algorithms.
// Those that it warns of or refuses:
const std::unordered_set<std::string>& alarming() {
  static const std::unordered_set<std::string> names = {
      "aten::_adaptive_avg_pool2d_backward", "aten::_adaptive_avg_pool3d_backward",
      "aten::adaptive_max_pool2d_backward", "aten::adaptive_max_pool2d_backward.grad_input",
      "aten::avg_pool3d_backward", "aten::fractional_max_pool2d_backward", "aten::max_pool3d_with_indices_backward",
      "aten::upsample_linear1d_backward", "aten::upsample_bilinear2d_backward", "aten::upsample_bicubic2d_backward",
      "aten::upsample_trilinear3d_backward", "aten::_upsample_bilinear2d_aa_backward",
      "aten::reflection_pad1d_backward", "aten::reflection_pad2d_backward", "aten::reflection_pad3d_backward",
      "aten::replication_pad1d_backward", "aten::replication_pad2d_backward", "aten::replication_pad3d_backward",
      "aten::grid_sampler_2d_backward", "aten::grid_sampler_3d_backward", "aten::cumsum", "aten::cumsum_",
      "aten::cumsum.out", "aten::histc", "aten::kthvalue", "aten::kthvalue.values", "aten::median.dim_values",
      "aten::put_", "aten::nll_loss2d_forward", "aten::nll_loss2d_backward", "aten::_ctc_loss_backward",
      "aten::max_unpool2d", "aten::max_unpool3d", "aten::bincount"};
  return names;
}
// Those that it replaces by slower ones that keep the order:
const std::unordered_set<std::string>& varying() {
  static const std::unordered_set<std::string> names = {
      "aten::scatter_add", "aten::scatter_add_", "aten::scatter_add.out", "aten::scatter_reduce.two_out",
      "aten::scatter_reduce_.two", "aten::scatter_reduce.two", "aten::index_add", "aten::index_add_",
      "aten::index_add.out", "aten::_index_put_impl_", "aten::index_copy", "aten::index_copy_",
      "aten::convolution_backward", "aten::gather_backward"};
  return names;
}

bool varies(const std::string& name, const torch::jit::Stack& stack, size_t begin, size_t given) {
  if (name.rfind("aten::cumsum", 0) == 0) return stack[begin].toTensor().is_floating_point();
  if (name == "aten::bincount") return stack[begin + 1].isTensor() && stack[begin + 1].toTensor().defined();
  if (name == "aten::_index_put_impl_") return stack[begin + 3].toBool();
  return true;
}

void check_device(const std::string& name, int flags, const at::Tensor& tensor, bool index) {
  if (!tensor.defined() || tensor.is_cuda() || tensor.is_meta()) return;
  bool scalar = tensor.dim() == 0;
  if (index) return;  // indices may be on the CPU: they are copied
  if (flags & NO_CHECK) return;
  if ((flags & ITERATOR) && scalar) {
    if (!tensor.unsafeGetTensorImpl()->is_wrapped_number()) count(scalars, name);  // not a Python number
    return;
  }
  TORCH_CHECK(
      false, "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! (when ",
      "checking argument for ", name, ", emulated)");
}

void fallback(const c10::OperatorHandle& op, DispatchKeySet, torch::jit::Stack* stack) {
  used();
  const auto& schema = op.schema();
  const auto name = full_name(schema);
  auto entry = operators().find(name);
  int flags = entry == operators().end() ? 0 : entry->second;
  TORCH_CHECK_NOT_IMPLEMENTED(
      flags & HAS_CUDA, "Could not run '", name, "' with arguments from the 'CUDA' backend. (emulated: ",
      entry == operators().end() ? "an operation that the emulation does not know" : "a GPU has no kernel for it", ")");
  const size_t given = schema.arguments().size(), returned = schema.returns().size();
  const size_t begin = stack->size() - given;
  Call call;
  const bool indexing = is_index(name);
  bool waits = waiting().count(name) > 0;
  at::Generator generator;
  for (size_t place = 0; place < given; ++place) {
    auto& value = (*stack)[begin + place];
    const auto& argument = schema.arguments()[place];
    const bool is_indices = indexing && argument.name() == "indices";
    if (value.isTensor()) {
      const auto& tensor = value.toTensor();
      if (!tensor.defined()) continue;
      check_device(name, flags, tensor, false);
      if (tensor.is_cuda()) value = call.to_host(tensor);
    } else if (value.isTensorList()) {
      std::vector<at::Tensor> hosts;
      for (const at::Tensor& tensor : value.toTensorVector()) {
        check_device(name, flags, tensor, is_indices);
        hosts.push_back(tensor.defined() && tensor.is_cuda() ? call.to_host(tensor) : tensor);
      }
      value = c10::List<at::Tensor>(hosts);
    } else if (value.isOptionalTensorList()) {
      c10::List<std::optional<at::Tensor>> hosts;
      for (std::optional<at::Tensor> tensor : value.toOptionalTensorList()) {
        if (!tensor.has_value() || !tensor->defined()) {
          hosts.push_back(std::nullopt);
          continue;
        }
        check_device(name, flags, *tensor, is_indices);
        if (is_indices && !tensor->is_cuda()) synchronised(name + " (an index on the CPU is copied)");
        if (is_indices && (tensor->scalar_type() == at::kBool || tensor->scalar_type() == at::kByte))
          synchronised(name + " (a mask as index)");
        hosts.push_back(tensor->is_cuda() ? call.to_host(*tensor) : *tensor);
      }
      value = hosts;
    } else if (value.isGenerator()) {
      generator = value.toGenerator();
      TORCH_CHECK(
          generator.device().is_cuda(), "Expected a 'cuda' device type for generator but found '",
          generator.device().type(), "'");
      value = static_cast<FakeGenerator*>(generator.unsafeGetGeneratorImpl())->inner;
    } else if (value.isNone() && argument.type()->str().find("Generator") != std::string::npos) {
      value = static_cast<FakeGenerator*>(default_generator().unsafeGetGeneratorImpl())->inner;
    } else if (value.isDevice() && value.toDevice().is_cuda()) {
      value = Device(DeviceType::CPU);
    }
  }
  for (size_t place = 0; place < given; ++place) {  // what is changed must be on the GPU itself
    const auto* alias = schema.arguments()[place].alias_info();
    const auto& value = (*stack)[begin + place];
    if (alias && alias->isWrite() && value.isTensor() && value.toTensor().defined())
      TORCH_CHECK(
          call.by_impl.count(value.toTensor().unsafeGetTensorImpl()), "Expected all tensors to be on the same device, ",
          "but found at least two devices, cpu and cuda:0! (output of ", name, ", emulated)");
  }
  launched(name);
  if (waits) synchronised(name);
  if (alarming().count(name) && varies(name, *stack, begin, given)) {
    count(undetermined, name);
    at::globalContext().alertNotDeterministic(name);
  } else if (varying().count(name) && varies(name, *stack, begin, given) &&
             !(at::globalContext().deterministicAlgorithms() || (name == "aten::convolution_backward" &&
               at::globalContext().deterministicCuDNN()))) {
    count(undetermined, name);
  }
  if (name == "aten::native_dropout") {  // draws from the default generator without naming it
    const auto& host = at::detail::getDefaultCPUGenerator();
    auto& inner = static_cast<FakeGenerator*>(default_generator().unsafeGetGeneratorImpl())->inner;
    auto kept = host.get_state().clone();
    const_cast<at::Generator&>(host).set_state(inner.get_state());
    op.redispatchBoxed(DispatchKeySet(DispatchKey::CPU), stack);
    inner.set_state(host.get_state());
    const_cast<at::Generator&>(host).set_state(kept);
  } else {
    op.redispatchBoxed(DispatchKeySet(DispatchKey::CPU), stack);
  }
  call.adopt_new_shapes();
  const size_t first = stack->size() - returned;
  for (size_t place = 0; place < returned; ++place) {
    auto& value = (*stack)[first + place];
    if (value.isTensor()) {
      value = call.to_device(value.toTensor());
    } else if (value.isTensorList()) {
      std::vector<at::Tensor> made;
      for (const at::Tensor& tensor : value.toTensorVector()) made.push_back(call.to_device(tensor));
      value = c10::List<at::Tensor>(made);
    }
  }
}

// ---------------------------------------------------------------- what is not left to the fallback

bool fills() {
  return at::globalContext().deterministicAlgorithms() && at::globalContext().deterministicFillUninitializedMemory();
}

at::Tensor filled(at::Tensor tensor) {  // as empty_cuda does under torch.use_deterministic_algorithms
  if (!fills() || tensor.numel() == 0) return tensor;
  launched("fill of uninitialised memory");
  std::memset(tensor.mutable_data_ptr(), tensor.is_floating_point() ? 0xFF : 0x7F, tensor.storage().nbytes());
  return tensor;
}

at::Tensor empty_memory_format(
    c10::IntArrayRef size, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
    std::optional<Device>, std::optional<bool> pinned, std::optional<at::MemoryFormat> format) {
  TORCH_CHECK(!pinned.value_or(false), "Only dense CPU tensors can be pinned");
  return filled(at::detail::empty_generic(
      size, allocator(), DispatchKeySet(DispatchKey::CUDA), c10::dtype_or_default(dtype), format));
}

at::Tensor empty_strided(
    c10::IntArrayRef size, c10::IntArrayRef stride, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
    std::optional<Device>, std::optional<bool>) {
  return filled(at::detail::empty_strided_generic(
      size, stride, allocator(), DispatchKeySet(DispatchKey::CUDA), c10::dtype_or_default(dtype)));
}

at::Tensor& copy(at::Tensor& self, const at::Tensor& source, bool non_blocking) {
  used();
  Call call;
  bool from = source.is_cuda(), to = self.is_cuda();
  if (from && to) {
    launched("aten::copy_");
  } else {
    launched(to ? "copy from the CPU" : "copy to the CPU");
    const auto& on_host = to ? source : self;  // only pinned memory spares the host from waiting
    if (!non_blocking || !is_pinned_address(on_host.storage().data()))
      synchronised(to ? "copy from the CPU" : "copy to the CPU");
  }
  auto target = to ? call.to_host(self) : self;
  at::AutoDispatchBelowADInplaceOrView guard;
  target.copy_(from ? call.to_host(source) : source, non_blocking);
  return self;
}

at::Scalar local_scalar(const at::Tensor& self) {
  used();
  Call call;
  synchronised("aten::_local_scalar_dense");
  launched("copy to the CPU");
  at::AutoDispatchBelowADInplaceOrView guard;
  return at::_local_scalar_dense(call.to_host(self));
}

const at::Tensor& resize(const at::Tensor& self, c10::IntArrayRef size, std::optional<at::MemoryFormat> format) {
  auto impl = self.unsafeGetTensorImpl();
  if (self.sizes() == size) return self;
  auto bytes = at::detail::computeStorageNbytesContiguous(size, self.dtype().itemsize(), self.storage_offset());
  if (bytes > self.storage().nbytes()) {
    auto data = allocator()->allocate(bytes);
    if (self.storage().nbytes()) std::memcpy(data.mutable_get(), self.storage().data(), self.storage().nbytes());
    auto storage = self.storage();
    storage.set_data_ptr(std::move(data));
    storage.set_nbytes(bytes);
  }
  impl->set_sizes_contiguous(size);
  if (format.has_value()) impl->empty_tensor_restride(*format);
  return self;
}

at::Tensor& set_storage(
    at::Tensor& self, at::Storage source, int64_t offset, c10::IntArrayRef size, c10::IntArrayRef stride) {
  auto impl = self.unsafeGetTensorImpl();
  impl->set_storage_keep_dtype(std::move(source));
  impl->set_storage_offset(offset);
  if (stride.empty() && !size.empty()) impl->set_sizes_contiguous(size);
  else impl->set_sizes_and_strides(size, stride);
  return self;
}

at::Tensor& set_source_storage(at::Tensor& self, at::Storage source) {
  int64_t size = static_cast<int64_t>(source.nbytes() / self.dtype().itemsize());
  return set_storage(self, std::move(source), 0, {size}, {1});
}

at::Tensor& set_tensor(at::Tensor& self, const at::Tensor& source) {
  if (self.is_same(source)) return self;
  return set_storage(self, source.storage(), source.storage_offset(), source.sizes(), source.strides());
}

at::Tensor& set_empty(at::Tensor& self) {
  c10::Storage storage(c10::make_intrusive<c10::StorageImpl>(
      c10::StorageImpl::use_byte_size_t(), 0, allocator()->allocate(0), allocator(), true));
  return set_storage(self, storage, 0, {0}, {1});
}

void record_stream(at::Tensor&, c10::Stream) {}

int64_t sdp_choice(
    const at::Tensor&, const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&, double, bool,
    std::optional<double>, bool) {
  return 0;  // plain matrix products, as everywhere; a real GPU may choose a fused kernel
}

void after_fork() {
  if (initialised) bad_fork = true;
}

TORCH_LIBRARY_IMPL(_, CUDA, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&fallback>()); }

TORCH_LIBRARY_IMPL(aten, CUDA, m) {
  m.impl("empty.memory_format", empty_memory_format);
  m.impl("empty_strided", empty_strided);
  m.impl("copy_", copy);
  m.impl("_local_scalar_dense", local_scalar);
  m.impl("resize_", resize);
  m.impl("set_.source_Storage_storage_offset", set_storage);
  m.impl("set_.source_Storage", set_source_storage);
  m.impl("set_.source_Tensor", set_tensor);
  m.impl("set_", set_empty);
  m.impl("record_stream", record_stream);
  m.impl("_fused_sdp_choice", sdp_choice);
  m.impl("as_strided", TORCH_FN(at::native::as_strided_tensorimpl));
  m.impl("view", TORCH_FN(at::native::view));
  m.impl("unfold", TORCH_FN(at::native::unfold));
  m.impl("_reshape_alias", TORCH_FN(at::native::_reshape_alias));
  m.impl("view_as_real", TORCH_FN(at::native::view_as_real));
  m.impl("view_as_complex", TORCH_FN(at::native::view_as_complex));
  // Composite operations that ask which device they are on: all of them is the CPU's, so values are the same.
  for (const char* name : whole) m.impl(name, torch::CppFunction::makeFromBoxedFunction<&fallback>());
}

const FakeGuard guard;
const c10::impl::DeviceGuardImplRegistrar registrar(DeviceType::CUDA, &guard);

}  // namespace

namespace at {
REGISTER_CUDA_HOOKS(CUDAHooks);
}

namespace {
struct Start {
  Start() {
    c10::SetAllocator(DeviceType::CUDA, allocator());
    // Importing torch asked for the hooks already, and keeps those that say there is no CUDA: they get ours' virtual
    // table, which is all that such an object is made of.
    static_assert(sizeof(CUDAHooks) == sizeof(void*));
    static const auto* mine = new CUDAHooks(at::CUDAHooksArgs{});
    auto& known = const_cast<at::CUDAHooksInterface&>(at::detail::getCUDAHooks());
    std::memcpy(static_cast<void*>(&known), static_cast<const void*>(mine), sizeof(void*));
    pthread_atfork(nullptr, nullptr, &after_fork);
  }
} start;

std::string& text() {
  static std::string held;
  return held;
}

const char* table(const std::map<std::string, int64_t>& counts) {
  std::lock_guard<std::mutex> lock(mutex);
  auto& out = text();
  out.clear();
  for (const auto& [name, number] : counts) out += name + "\t" + std::to_string(number) + "\n";
  return out.c_str();
}
}  // namespace

extern "C" {
const char* emulated_launches() { return table(launches); }
const char* emulated_syncs() { return table(syncs); }
const char* emulated_scalars() { return table(scalars); }
const char* emulated_undetermined() { return table(undetermined); }
int64_t emulated_launch_count() { return launch_count; }
int64_t emulated_sync_count() { return sync_count; }
int64_t emulated_allocations() { return allocations; }
int64_t emulated_bytes() { return current_bytes; }
int64_t emulated_peak() { return peak_bytes; }
void emulated_reset_peak() { peak_bytes = current_bytes.load(); }
int emulated_initialised() { return initialised; }
int emulated_bad_fork() { return bad_fork; }
void emulated_want_default(int wanted) { want_default = wanted; }
void emulated_limit(int64_t bytes) { limit = bytes; }
void emulated_different(int wanted) { different = wanted; }
void emulated_watch(Watch told) { watch = told; }
void emulated_synchronised(const char* name) { synchronised(name); }
void emulated_reset() {
  std::lock_guard<std::mutex> lock(mutex);
  launches.clear();
  syncs.clear();
  scalars.clear();
  undetermined.clear();
  launch_count = 0;
  sync_count = 0;
  allocations = 0;
}
}
