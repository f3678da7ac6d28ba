/*
 * Runs a Lua program in many Lua states at once: a host of the kind that embeds Lua in each of its threads.
 *
 *     threads PROGRAM keep|pass THREADS ROUNDS [ARGUMENT...]
 *
 * THREADS threads make ROUNDS states each, one after the other, and run PROGRAM in each of them with (thread, round,
 * ARGUMENT...), numbers from 1. If it returns a function, that is called next, without arguments. Then the state is
 * closed: by its own thread (keep), or (pass) by another one, which also calls the function; a state is never used by
 * two threads at a time. Prints a line for each error, and at the end
 *
 *     states N
 *     descriptors BEFORE AFTER
 *
 * N is how many states were closed without an error; BEFORE and AFTER count the process's open descriptors. The status
 * is 0 if there was no error and the two are the same. A host that hangs is ended by SIGALRM.
 *
 * It knows Lua and nothing of the module under test. Linux only, for the descriptors (/proc).
 */
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

enum { MOST_THREADS = 64, PATIENCE = 60 /* seconds */ };

static const char *program;
static int passing, threads, rounds, argument_count;
static char **arguments;

static lua_State *made[MOST_THREADS]; /* one state per thread in this round; only the barrier orders the accesses */
static pthread_barrier_t barrier;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards these two and the printed lines */
static int succeeded, failed;

static int descriptors(void)
{
    int count = 0;
    DIR *directory = opendir("/proc/self/fd");
    if (directory == NULL) {
        perror("/proc/self/fd");
        exit(2);
    }
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count - 3; /* ".", ".." and the descriptor of the directory */
}

static void report(lua_State *L, int thread, int round, const char *when)
{
    const char *message = lua_tostring(L, -1);
    pthread_mutex_lock(&lock);
    printf("thread %d, round %d, %s: %s\n", thread, round, when, message ? message : "an error that is no text");
    failed++;
    pthread_mutex_unlock(&lock);
}

/* A state in which the program has run, with what it returned on its stack; NULL if it failed. */
static lua_State *make(int thread, int round)
{
    lua_State *L = luaL_newstate();
    if (L == NULL) {
        fputs("no memory for a state\n", stderr);
        exit(2);
    }
    luaL_openlibs(L);
    int status = luaL_loadfile(L, program);
    if (status == 0) {
        lua_pushinteger(L, thread);
        lua_pushinteger(L, round);
        for (int i = 0; i < argument_count; i++)
            lua_pushstring(L, arguments[i]);
        status = lua_pcall(L, 2 + argument_count, 1, 0);
    }
    if (status == 0)
        return L;
    report(L, thread, round, "at first");
    lua_close(L);
    return NULL;
}

static void finish(lua_State *L, int thread, int round)
{
    if (L == NULL)
        return;
    int status = lua_isfunction(L, -1) ? lua_pcall(L, 0, 0, 0) : 0;
    if (status != 0)
        report(L, thread, round, passing ? "passed on" : "later");
    lua_close(L);
    if (status == 0) {
        pthread_mutex_lock(&lock);
        succeeded++;
        pthread_mutex_unlock(&lock);
    }
}

static void *run(void *number)
{
    int thread = *(int *)number; /* from 0 */
    for (int round = 1; round <= rounds; round++) {
        lua_State *L = make(thread + 1, round);
        if (passing) {
            int other = (thread + 1) % threads;
            made[thread] = L;
            pthread_barrier_wait(&barrier); /* all have made theirs */
            L = made[other];
            pthread_barrier_wait(&barrier); /* all have taken another's */
            finish(L, other + 1, round);
        } else {
            finish(L, thread + 1, round);
        }
    }
    return NULL;
}

int main(int count, char **words)
{
    if (count < 5 || (threads = atoi(words[3])) < 1 || threads > MOST_THREADS || (rounds = atoi(words[4])) < 1) {
        fputs("usage: threads PROGRAM keep|pass THREADS ROUNDS [ARGUMENT...]\n", stderr);
        return 2;
    }
    program = words[1];
    passing = strcmp(words[2], "pass") == 0;
    arguments = words + 5;
    argument_count = count - 5;
    alarm(PATIENCE);
    pthread_barrier_init(&barrier, NULL, (unsigned)threads);

    int before = descriptors();
    pthread_t ids[MOST_THREADS];
    int numbers[MOST_THREADS];
    for (int i = 0; i < threads; i++) {
        numbers[i] = i;
        if (pthread_create(&ids[i], NULL, run, &numbers[i]) != 0) {
            fputs("no room for a thread\n", stderr);
            return 2;
        }
    }
    for (int i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    int after = descriptors();
    printf("states %d\ndescriptors %d %d\n", succeeded, before, after);
    return failed == 0 && before == after ? 0 : 1;
}
