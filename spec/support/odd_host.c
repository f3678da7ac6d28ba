/* What unusual hosts do, for child programs of the specs (odd_host.lua). One library with two uses:
 *
 * - By LD_PRELOAD it replaces functions of the C library. A look-up of a name that begins with "dead" fails when the
 *   program says so; "both.test" has the addresses ::1 and 127.0.0.1. With ODD_NO_THREADS no thread can be made. The
 *   wall clock can be set.
 * - The program loads it as a Lua module with some of POSIX, what replaces the wall clock's time, and an allocator that
 *   refuses memory. That is Lua's until the process ends, so the library is never unloaded (odd_host.lua).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

static volatile sig_atomic_t signals, signals_elsewhere; /* how many came, to the main thread and to others */
static int look_ups;                                     /* how many began */
static volatile int look_ups_fail;                       /* those of dead names do so, and no longer wait */
static double wall_offset;                               /* seconds that the wall clock is ahead of the real one */

/* What is replaced */

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **result) {
  int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
    dlsym(RTLD_NEXT, "getaddrinfo");
  __atomic_add_fetch(&look_ups, 1, __ATOMIC_SEQ_CST);
  if (node && strncmp(node, "dead", 4) == 0) {
    while (!look_ups_fail) usleep(1000);
    return EAI_AGAIN;
  }
  if (node && strcmp(node, "both.test") == 0) {
    int failed = real("::1", service, hints, result);
    return failed ? failed : real("127.0.0.1", service, hints, &(*result)->ai_next);
  }
  return real(node, service, hints, result);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument) {
  int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) = dlsym(RTLD_NEXT, "pthread_create");
  return getenv("ODD_NO_THREADS") ? EAGAIN : real(thread, attributes, start, argument);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
  int result = syscall(SYS_clock_gettime, clock, time);
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) time->tv_sec += wall_offset;
  return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  struct timespec time;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &time);
  now->tv_sec = time.tv_sec;
  now->tv_usec = time.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *result) {
  struct timespec time;
  clock_gettime(CLOCK_REALTIME, &time);
  if (result) *result = time.tv_sec;
  return time.tv_sec;
}

/* What Lua calls. Failures are nil and the system's text. */

static int done(lua_State *L, long result) {
  if (result < 0) {
    lua_pushnil(L);
    lua_pushstring(L, strerror(errno));
    return 2;
  }
  lua_pushinteger(L, result);
  return 1;
}

#define NUMBER(n) luaL_checknumber(L, n)

static int odd_set_wall(lua_State *L) { wall_offset = NUMBER(1); return 0; }
static int odd_end_look_ups(lua_State *L) { (void)L; look_ups_fail = 1; return 0; }
static int odd_look_ups(lua_State *L) { return done(L, look_ups); }

static int odd_fork(lua_State *L) { return done(L, fork()); }
static int odd_exit(lua_State *L) { _exit(NUMBER(1)); return 0; }
static int odd_pid(lua_State *L) { return done(L, getpid()); }
static int odd_wait(lua_State *L) { /* wait(pid): its exit status */
  int status = 0;
  pid_t ended;
  do ended = waitpid(NUMBER(1), &status, 0); while (ended < 0 && errno == EINTR);
  return done(L, ended < 0 ? -1 : WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status));
}

static int odd_close(lua_State *L) { return done(L, close(NUMBER(1))); }
static int odd_dup2(lua_State *L) { return done(L, dup2(NUMBER(1), NUMBER(2))); }
static int odd_umask(lua_State *L) { return done(L, umask(NUMBER(1))); }
static int odd_chdir(lua_State *L) { return done(L, chdir(luaL_checkstring(L, 1))); }
static int odd_limit_descriptors(lua_State *L) {
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = NUMBER(1);
  return done(L, setrlimit(RLIMIT_NOFILE, &limit));
}

static void count_signal(int number) {
  (void)number;
  if (syscall(SYS_gettid) == getpid()) signals++; else signals_elsewhere++;
}

static int odd_on_signal(lua_State *L) { /* on_signal(number): counts them; system calls are interrupted */
  struct sigaction action = { .sa_handler = count_signal };
  return done(L, sigaction(NUMBER(1), &action, NULL));
}
static int odd_default_signal(lua_State *L) {
  struct sigaction action = { .sa_handler = SIG_DFL };
  return done(L, sigaction(NUMBER(1), &action, NULL));
}
static int odd_alarms(lua_State *L) { /* alarms(seconds): a SIGALRM after each such time; 0: no more */
  double seconds = NUMBER(1);
  struct timeval each = { .tv_sec = seconds, .tv_usec = (seconds - (long)seconds) * 1e6 };
  struct itimerval timer = { .it_interval = each, .it_value = each };
  return done(L, setitimer(ITIMER_REAL, &timer, NULL));
}
static int odd_kill(lua_State *L) { return done(L, kill(NUMBER(1), NUMBER(2))); }
static int odd_block(lua_State *L) { /* block(number): in this thread only */
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, NUMBER(1));
  return done(L, -pthread_sigmask(SIG_BLOCK, &set, NULL));
}
static int odd_signals(lua_State *L) { /* in the main thread, and in others */
  lua_pushinteger(L, signals);
  lua_pushinteger(L, signals_elsewhere);
  return 2;
}

static int odd_in_state(lua_State *L) { /* in_state(program, argument): runs it in a state of its own, and closes that.
                                           Returns how many seconds closing took; or nil and the error */
  struct timespec began, ended;
  lua_State *own = luaL_newstate();
  luaL_openlibs(own);
  int failed = luaL_loadstring(own, luaL_checkstring(L, 1));
  lua_pushstring(own, luaL_optstring(L, 2, ""));
  failed = failed || lua_pcall(own, 1, 0, 0);
  if (failed) {
    lua_pushnil(L);
    lua_pushstring(L, lua_tostring(own, -1));
  }
  clock_gettime(CLOCK_MONOTONIC, &began);
  lua_close(own);
  clock_gettime(CLOCK_MONOTONIC, &ended);
  if (failed) return 2;
  lua_pushnumber(L, ended.tv_sec - began.tv_sec + (ended.tv_nsec - began.tv_nsec) / 1e9);
  return 1;
}

/* Lua's allocator, and which of its allocations are refused: after `left` others, the next `refusals`. */
static lua_Alloc allocate;
static void *allocator;
static double left = -1, refusals;
static int was_refused;

static void *refusing(void *unused, void *block, size_t before, size_t size) {
  (void)unused;
  if (left >= 0 && size > (block ? before : 0)) {
    if (left > 0) {
      left--;
    } else if (refusals > 0) {
      refusals--;
      was_refused = 1;
      return NULL;
    }
  }
  return allocate(allocator, block, before, size);
}

static int odd_refuse(lua_State *L) { /* refuse(left, refusals) */
  if (!allocate) {
    allocate = lua_getallocf(L, &allocator);
    lua_setallocf(L, refusing, NULL);
  }
  refusals = NUMBER(2);
  was_refused = 0;
  left = NUMBER(1);
  return 0;
}
static int odd_allow(lua_State *L) { /* refuses no more; returns whether any was */
  left = -1;
  lua_pushboolean(L, was_refused);
  return 1;
}
static int odd_was_refused(lua_State *L) {
  lua_pushboolean(L, was_refused);
  return 1;
}
static int odd_allocated(lua_State *L) { /* the bytes in use, in all of malloc's blocks */
  struct mallinfo2 info = mallinfo2();
  lua_pushnumber(L, (double)info.uordblks + (double)info.hblkhd);
  return 1;
}

#define NAMED(name) { #name, odd_##name }

int luaopen_odd_host(lua_State *L) {
  static const luaL_Reg functions[] = {
    NAMED(set_wall), NAMED(look_ups), NAMED(end_look_ups), NAMED(fork), NAMED(exit), NAMED(pid), NAMED(wait),
    NAMED(close), NAMED(dup2), NAMED(umask), NAMED(chdir), NAMED(limit_descriptors), NAMED(on_signal),
    NAMED(default_signal), NAMED(alarms), NAMED(kill), NAMED(block), NAMED(signals), NAMED(in_state), NAMED(refuse),
    NAMED(allow), NAMED(was_refused), NAMED(allocated),
  };
  static const struct { const char *name; int value; } numbers[] = {
    { "SIGALRM", SIGALRM }, { "SIGCHLD", SIGCHLD }, { "SIGPIPE", SIGPIPE }, { "SIGUSR1", SIGUSR1 },
  };
  lua_newtable(L);
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    lua_pushcfunction(L, functions[i].func);
    lua_setfield(L, -2, functions[i].name);
  }
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    lua_pushinteger(L, numbers[i].value);
    lua_setfield(L, -2, numbers[i].name);
  }
  return 1;
}
