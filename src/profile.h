/*-------------------------------------------------------------------------
 *
 * profile.h
 *		Cache profiles: which of two is the shorter.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLINICACHE_PROFILE_H
#define CLINICACHE_PROFILE_H

extern void cc_profile_init(void);
extern int	cc_profile_seconds(const char *name, int len);

#endif							/* CLINICACHE_PROFILE_H */
